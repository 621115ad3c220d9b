'use strict';
// One page: the drawn pictures wait in templates, what is known of the nodes in a JSON block; text enters only as textContent.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const stage = document.querySelector('main');
  const panel = document.querySelector('aside');
  const search = document.getElementById('search');
  const hitCount = document.getElementById('hits');
  const said = document.getElementById('said');
  const tabs = [...document.querySelectorAll('.tabs button')];
  const filters = [...document.querySelectorAll('input[data-filter]')];
  const moduleChoice = document.getElementById('module');
  const before = index((link) => link[1], (link) => link[0]);
  const after = index((link) => link[0], (link) => link[1]);
  let view = null; // { name, svg, scene, pan, size, nodes: Map key → element, edges: [{element, before, after}] }
  let selected = null;
  let hits = [];
  let hit = -1;
  let pressed = { x: 0, y: 0 };

  function index(from, to) {
    const found = new Map();
    for (const link of data.links) {
      if (!found.has(from(link))) found.set(from(link), []);
      found.get(from(link)).push([to(link), link[2]]);
    }
    return found;
  }

  // The picture -----------------------------------------------------------------------------------------------------------------

  function show(name) {
    const svg = document.getElementById('view-' + name).content.firstElementChild.cloneNode(true);
    const [, , width, height] = svg.getAttribute('viewBox').split(' ').map(Number);
    const scene = document.createElementNS(svg.namespaceURI, 'g');
    scene.setAttribute('class', 'scene');
    for (const child of [...svg.children]) if (!['title', 'desc', 'style'].includes(child.tagName)) scene.append(child);
    svg.append(scene);
    svg.setAttribute('role', 'group'); // what is inside an image is hidden from those who hear the page
    svg.removeAttribute('viewBox');
    svg.removeAttribute('width');
    svg.removeAttribute('height');
    stage.querySelector('svg')?.remove();
    stage.append(svg);
    const pan = Panzoom(scene, { canvas: true, minScale: 0.05, maxScale: 8, step: 0.3, duration: 120 });
    svg.addEventListener('wheel', pan.zoomWithWheel, { passive: false });
    svg.addEventListener('pointerdown', (event) => { pressed = { x: event.clientX, y: event.clientY }; }, true);
    svg.addEventListener('click', clicked);
    view = { name, svg, scene, pan, size: { width, height }, nodes: new Map(), edges: [] };
    for (const element of scene.querySelectorAll('g.node')) {
      const node = data.nodes[element.id];
      view.nodes.set(element.id, element);
      element.setAttribute('tabindex', '0');
      element.setAttribute('role', 'button');
      element.setAttribute('aria-label', [node.name, node.kind, node.state, ...node.notes].join(', '));
    }
    for (const element of scene.querySelectorAll('g.edge[data-before]')) {
      view.edges.push({ element, before: element.dataset.before, after: element.dataset.after });
    }
    for (const tab of tabs) tab.setAttribute('aria-pressed', String(tab.dataset.view === name));
    fit();
    find();
    filter();
    highlight();
  }

  function fit() {
    const box = stage.getBoundingClientRect();
    const whole = Math.min(box.width / view.size.width, box.height / view.size.height, 1.6);
    const readable = Math.max(whole, 0.55);
    place(readable, Math.max(0, (box.width / readable - view.size.width) / 2), 0);
  }

  function place(scale, x, y) {
    // Panzoom sets its own start a moment after it is made; asked later, ours is the last word.
    const { pan } = view;
    const set = () => { pan.zoom(scale, { force: true, animate: false }); pan.pan(x, y, { force: true, animate: false }); };
    set();
    setTimeout(set);
  }

  function centre(key) {
    const element = view.nodes.get(key);
    if (!element) return;
    const box = stage.getBoundingClientRect();
    const at = element.getBoundingClientRect();
    const margin = 30;
    const inside = at.left >= box.left + margin && at.right <= box.right - margin && at.top >= box.top + margin && at.bottom <= box.bottom - margin;
    if (inside) return;
    const scale = view.pan.getScale();
    const { x, y } = view.pan.getPan();
    view.pan.pan(
      x + (box.left + box.width / 2 - (at.left + at.right) / 2) / scale,
      y + (box.top + box.height / 2 - (at.top + at.bottom) / 2) / scale,
      { force: true, animate: false },
    );
  }

  // Selecting -------------------------------------------------------------------------------------------------------------------

  function clicked(event) {
    if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 5) return; // it was a drag
    const element = event.target.closest('g.node');
    if (event.target.closest('a')) return;
    choose(element ? element.id : null);
  }

  function choose(key, { silent = false } = {}) {
    selected = key && data.nodes[key] ? key : null;
    if (selected && !view.nodes.has(selected)) {
      const other = tabs.find((tab) => document.getElementById('view-' + tab.dataset.view).content.getElementById(selected));
      if (other) show(other.dataset.view);
    }
    const hash = selected ? '#' + encodeURIComponent(selected) : '';
    if (!silent && location.hash !== hash) history.replaceState(null, '', hash || location.pathname + location.search);
    highlight();
    describe();
    if (selected) centre(selected);
  }

  function reach(key, neighbours) {
    const seen = new Set([key]);
    const front = [key];
    while (front.length) for (const [next] of neighbours.get(front.pop()) ?? []) if (!seen.has(next)) { seen.add(next); front.push(next); }
    return seen;
  }

  function highlight() {
    const ancestors = selected ? reach(selected, before) : null;
    const descendants = selected ? reach(selected, after) : null;
    const near = (key) => !selected || ancestors.has(key) || descendants.has(key);
    for (const [key, element] of view.nodes) {
      element.classList.toggle('faded', !near(key));
      element.classList.toggle('selected', key === selected);
      element.setAttribute('aria-pressed', String(key === selected));
    }
    for (const edge of view.edges) {
      const along = !selected || (ancestors.has(edge.before) && ancestors.has(edge.after)) || (descendants.has(edge.before) && descendants.has(edge.after));
      edge.element.classList.toggle('faded', !along);
    }
  }

  // The panel -------------------------------------------------------------------------------------------------------------------

  function make(tag, text, parent) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    parent?.append(element);
    return element;
  }

  function describe() {
    panel.hidden = !selected;
    panel.replaceChildren();
    said.textContent = '';
    if (!selected) return;
    const node = data.nodes[selected];
    const close = make('button', '×', panel);
    close.className = 'close';
    close.setAttribute('aria-label', 'Close');
    close.addEventListener('click', () => choose(null));
    make('h2', node.name, panel);
    const list = make('dl', undefined, panel);
    const say = (word, text) => { if (text) { make('dt', word, list); make('dd', text, list); } };
    say('kind', node.kind);
    say('state', [node.state, ...node.notes].join(' · '));
    say('place in the plan', node.place ? '#' + node.place : '');
    if (node.source) {
      make('dt', 'source', list);
      const place = make('dd', node.link ? undefined : node.source, list);
      if (node.link) make('a', node.source, place).href = node.link;
    }
    for (const [word, text] of node.details) say(word, text);
    neighbours('runs after', before);
    neighbours('before', after);
    said.textContent = node.name + ' selected';
  }

  function neighbours(words, links) {
    const direct = links.get(selected) ?? [];
    if (!direct.length) return;
    make('h3', `${words} (${reach(selected, links).size - 1} in all)`, panel);
    const list = make('ul', undefined, panel);
    for (const [key, kind] of direct) {
      const item = make('li', undefined, list);
      make('button', data.nodes[key].name, item).addEventListener('click', () => choose(key));
      make('span', ` ${kind} · ${data.nodes[key].state}`, item);
    }
  }

  // Searching and filtering -----------------------------------------------------------------------------------------------------

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits = [];
    hit = -1;
    for (const [key, element] of view.nodes) {
      const node = data.nodes[key];
      const text = [node.name, node.source, node.module, node.kind, node.state, ...node.notes].join(' ').toLowerCase();
      const found = words.length > 0 && words.every((word) => text.includes(word));
      element.classList.toggle('hit', found);
      if (found) hits.push(key);
    }
    hitCount.textContent = words.length ? (hits.length ? `${hits.length} found` : 'none found') : '';
  }

  function walk(step) {
    if (!hits.length) return;
    hit = (hit + step + hits.length) % hits.length;
    choose(hits[hit]);
    hitCount.textContent = `${hit + 1} of ${hits.length}`;
  }

  function filter() {
    const off = new Set(filters.filter((box) => !box.checked).map((box) => box.dataset.filter + ':' + box.value));
    const shown = (key) => {
      const node = data.nodes[key];
      return !off.has('state:' + node.state) && !off.has('kind:' + node.kind) && (!moduleChoice.value || node.module === moduleChoice.value);
    };
    for (const [key, element] of view.nodes) element.classList.toggle('gone', !shown(key));
    for (const edge of view.edges) edge.element.classList.toggle('gone', !shown(edge.before) || !shown(edge.after));
  }

  // Hands -----------------------------------------------------------------------------------------------------------------------

  search.addEventListener('input', find);
  search.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') { event.preventDefault(); walk(event.shiftKey ? -1 : 1); }
  });
  for (const box of [...filters, moduleChoice]) box.addEventListener('change', filter);
  for (const tab of tabs) tab.addEventListener('click', () => show(tab.dataset.view));
  document.getElementById('in').addEventListener('click', () => zoomBy(1));
  document.getElementById('out').addEventListener('click', () => zoomBy(-1));
  document.getElementById('fit').addEventListener('click', fit);

  function zoomBy(direction) {
    const box = stage.getBoundingClientRect();
    const middle = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
    view.pan.zoomToPoint(view.pan.getScale() * Math.exp(direction * 0.3), middle);
  }

  function move(x, y) {
    const scale = view.pan.getScale();
    view.pan.pan((x * 80) / scale, (y * 80) / scale, { relative: true, animate: false });
  }

  const keys = {
    '/': () => { search.focus(); search.select(); },
    '+': () => zoomBy(1),
    '=': () => zoomBy(1),
    '-': () => zoomBy(-1),
    0: fit,
    ArrowLeft: () => move(1, 0),
    ArrowRight: () => move(-1, 0),
    ArrowUp: () => move(0, 1),
    ArrowDown: () => move(0, -1),
  };
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      search.value = '';
      search.blur();
      find();
      choose(null);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea')) return;
    const element = event.target.closest?.('g.node');
    if (element && (event.key === 'Enter' || event.key === ' ')) {
      event.preventDefault();
      choose(element.id);
    } else if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  const fromHash = () => {
    try { choose(decodeURIComponent(location.hash.slice(1)), { silent: true }); } catch { choose(null); }
  };
  addEventListener('hashchange', fromHash);
  addEventListener('resize', () => { if (!selected) fit(); });
  addEventListener('beforeprint', () => {
    view.kept = view.scene.style.transform;
    view.scene.style.transform = 'none';
    view.svg.setAttribute('viewBox', `0 0 ${view.size.width} ${view.size.height}`);
  });
  addEventListener('afterprint', () => {
    view.svg.removeAttribute('viewBox');
    view.scene.style.transform = view.kept;
  });

  show(tabs.length ? tabs[0].dataset.view : 'plan');
  fromHash();
  document.documentElement.dataset.ready = 'true';
})();
