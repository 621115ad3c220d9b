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
  const list = document.querySelector('.list');
  const nothing = document.querySelector('.nothing');
  const rows = new Map(); // key → row of the list, which is made when somebody opens it
  const before = index((link) => link[1], (link) => link[0]);
  const after = index((link) => link[0], (link) => link[1]);
  let view = null; // { name, svg, scene, pan, size, nodes: Map key → element, edges: [{element, before, after}] }
  let listing = false;
  let selected = null;
  let current = null; // the one node that Tab reaches; arrow keys lead to the others
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
    listing = name === 'list';
    list.hidden = !listing;
    for (const tab of tabs) tab.setAttribute('aria-pressed', String(tab.dataset.view === name));
    if (listing) fill();
    else draw(name);
    view.svg.toggleAttribute('hidden', listing);
    filter();
    highlight();
  }

  function draw(name) {
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
    svg.addEventListener('wheel', wheel, { passive: false });
    svg.addEventListener('pointerdown', (event) => { pressed = { x: event.clientX, y: event.clientY }; }, true);
    svg.addEventListener('click', clicked);
    view = { name, svg, scene, pan, size: { width, height }, nodes: new Map(), edges: [] };
    for (const element of scene.querySelectorAll('g.node')) {
      const node = data.nodes[element.id];
      view.nodes.set(element.id, element);
      element.setAttribute('tabindex', '-1');
      element.setAttribute('role', 'button');
      element.setAttribute('aria-label', [node.name, node.kind, node.state, ...node.notes].join(', '));
    }
    for (const element of scene.querySelectorAll('g.edge[data-before]')) {
      view.edges.push({ element, before: element.dataset.before, after: element.dataset.after });
    }
    reachable(view.nodes.has(selected) ? selected : data.order.find((key) => view.nodes.has(key)));
    start();
  }

  function wheel(event) {
    // By how far it turns: a touchpad sends many small steps, a wheel a few large ones.
    event.preventDefault();
    const far = event.deltaY * (event.deltaMode === 1 ? 16 : 1) * (event.ctrlKey ? 0.01 : 0.0015);
    view.pan.zoomToPoint(view.pan.getScale() * Math.exp(-far), event, { animate: false });
  }

  function start() {
    // The whole picture, or as much of it as can be read, from the top.
    const box = stage.getBoundingClientRect();
    const readable = Math.max(Math.min(box.width / view.size.width, box.height / view.size.height, 1.6), 0.55);
    place(readable, Math.max(0, (box.width / readable - view.size.width) / 2), 0);
  }

  function fit() {
    // All of what is shown, however small it becomes.
    const shown = [...view.nodes.values()].filter((element) => !element.classList.contains('gone'));
    const part = shown.length && shown.length < view.nodes.size ? around(shown) : { x: 0, y: 0, ...view.size };
    const box = stage.getBoundingClientRect();
    const scale = Math.min(box.width / part.width, box.height / part.height, 1.6);
    place(scale, (box.width / scale - part.width) / 2 - part.x, -part.y);
  }

  function around(elements) {
    const box = stage.getBoundingClientRect();
    const scale = view.pan.getScale();
    const { x, y } = view.pan.getPan();
    const found = elements.map((element) => element.getBoundingClientRect());
    const [left, top] = [Math.min(...found.map((each) => each.left)), Math.min(...found.map((each) => each.top))];
    const [right, bottom] = [Math.max(...found.map((each) => each.right)), Math.max(...found.map((each) => each.bottom))];
    const margin = 20;
    return {
      x: (left - box.left) / scale - x - margin,
      y: (top - box.top) / scale - y - margin,
      width: (right - left) / scale + 2 * margin,
      height: (bottom - top) / scale + 2 * margin,
    };
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
    if (listing || !element || element.classList.contains('gone')) return;
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

  // Along the arrows by keyboard -------------------------------------------------------------------------------------------------

  function reachable(key) {
    view.nodes.get(current)?.setAttribute('tabindex', '-1');
    current = key;
    view.nodes.get(current)?.setAttribute('tabindex', '0');
  }

  function step(key, right, down) {
    // A neighbour in that direction where there is one, else whatever is nearest there.
    const along = [...(before.get(key) ?? []), ...(after.get(key) ?? [])].map(([other]) => other);
    const next = nearest(key, along, right, down) ?? nearest(key, [...view.nodes.keys()], right, down);
    if (next) view.nodes.get(next).focus();
  }

  function nearest(key, others, right, down) {
    const from = middle(key);
    let best = null;
    let least = Infinity;
    for (const other of others) {
      const element = view.nodes.get(other);
      if (other === key || !element || element.classList.contains('gone')) continue;
      const to = middle(other);
      const far = (to.x - from.x) * right + (to.y - from.y) * down;
      const aside = Math.abs((to.x - from.x) * down) + Math.abs((to.y - from.y) * right);
      if (far > 1 && aside <= 2 * far && far + 2 * aside < least) [best, least] = [other, far + 2 * aside];
    }
    return best;
  }

  function middle(key) {
    const { x, y, width, height } = view.nodes.get(key).querySelector('polygon').getBBox();
    return { x: x + width / 2, y: y + height / 2 };
  }

  // Selecting -------------------------------------------------------------------------------------------------------------------

  function clicked(event) {
    if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 5) return; // it was a drag
    const element = event.target.closest('g.node');
    if (event.target.closest('a')) return;
    choose(element ? element.id : null);
  }

  function choose(key, { silent = false } = {}) {
    selected = key && Object.hasOwn(data.nodes, key) ? key : null;
    if (selected && !listing && !view.nodes.has(selected)) {
      const other = tabs.find((tab) => document.getElementById('view-' + tab.dataset.view)?.content.getElementById(selected));
      if (other) show(other.dataset.view);
    }
    const hash = selected ? '#' + encodeURIComponent(selected) : '';
    if (!silent && location.hash !== hash) history.replaceState(null, '', hash || location.pathname + location.search);
    highlight();
    describe();
    if (!selected) return;
    if (view.nodes.has(selected)) reachable(selected);
    centre(selected);
    if (listing) rows.get(selected).scrollIntoView({ block: 'nearest' });
  }

  function leave() {
    // Back to where the panel was opened from.
    const from = listing ? rows.get(selected)?.querySelector('button') : view.nodes.get(selected);
    choose(null);
    from?.focus();
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
    for (const [key, row] of rows) {
      row.classList.toggle('selected', key === selected);
      row.setAttribute('aria-selected', String(key === selected));
    }
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
    close.addEventListener('click', leave);
    make('h2', node.name, panel).tabIndex = -1;
    const known = make('dl', undefined, panel);
    const say = (word, text) => { if (text) { make('dt', word, known); make('dd', text, known); } };
    say('kind', node.kind);
    say('state', [node.state, ...node.notes].join(' · '));
    say('place in the plan', node.place ? '#' + node.place : '');
    if (node.source) {
      make('dt', 'source', known);
      const place = make('dd', node.link ? undefined : node.source, known);
      if (node.link) make('a', node.source, place).href = node.link;
    }
    for (const [word, text] of node.details) say(word, text);
    neighbours('runs after', before);
    neighbours('runs before', after);
    said.textContent = node.name + ' selected';
  }

  function open(key) {
    choose(key);
    panel.querySelector('h2')?.focus();
  }

  function neighbours(words, links) {
    const direct = links.get(selected) ?? [];
    if (!direct.length) return;
    make('h3', `${words} (${reach(selected, links).size - 1} in all)`, panel);
    const names = make('ul', undefined, panel);
    for (const [key, kind] of direct) {
      const item = make('li', undefined, names);
      make('button', data.nodes[key].name, item).addEventListener('click', () => open(key));
      make('span', ` ${kind} · ${data.nodes[key].state}`, item);
    }
  }

  // The list --------------------------------------------------------------------------------------------------------------------

  function fill() {
    if (rows.size) return;
    const table = make('table', undefined, list);
    make('caption', 'What runs, in its order, then the rest', table).className = 'heard';
    const head = make('tr', undefined, make('thead', undefined, table));
    for (const word of ['#', 'name', 'state', 'after', 'views', 'error']) make('th', word, head).scope = 'col';
    const body = make('tbody', undefined, table);
    const inOrder = [...data.order.keys()].sort((a, b) => turn(a) - turn(b) || a - b).map((at) => data.order[at]);
    for (const key of inOrder) rows.set(key, row(key, body));
  }

  function turn(at) {
    return data.nodes[data.order[at]].place || Infinity;
  }

  function row(key, body) {
    const node = data.nodes[key];
    const said = (words) => node.details.filter(([word]) => words.includes(word)).map(([word, text]) => `${word} ${text}`).join('; ');
    const first = (before.get(key) ?? []).filter(([other]) => data.nodes[other].kind === node.kind);
    const line = make('tr', undefined, body);
    make('td', node.place || '', line);
    make('button', node.name, make('td', undefined, line)).addEventListener('click', () => choose(key));
    make('td', [node.state, ...node.notes].join(' · '), line);
    make('td', first.map(([other]) => data.nodes[other].name).join(', '), line);
    make('td', said(['creates', 'rebuilds', 'retires', 'opens', 'since', 'until', 'replaces']), line);
    make('td', node.details.find(([word]) => word === 'error')?.[1] ?? '', line);
    return line;
  }

  // Searching and filtering -----------------------------------------------------------------------------------------------------

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits = [];
    hit = -1;
    for (const key of listing ? rows.keys() : view.nodes.keys()) {
      const found = words.length > 0 && words.every((word) => textOf(key).includes(word));
      const element = view.nodes.get(key);
      element?.classList.toggle('hit', found);
      element?.classList.toggle('miss', words.length > 0 && !found);
      if (found && shown(key)) hits.push(key);
    }
    const found = new Set(hits);
    for (const [key, line] of rows) line.classList.toggle('gone', !shown(key) || (words.length > 0 && !found.has(key)));
    hitCount.textContent = words.length ? (hits.length ? `${hits.length} found` : 'none found') : '';
  }

  function textOf(key) {
    const node = data.nodes[key];
    return [node.name, node.source, node.module, node.kind, node.state, ...node.notes].join(' ').toLowerCase();
  }

  function walk(step) {
    if (!hits.length) return;
    hit = (hit + step + hits.length) % hits.length;
    choose(hits[hit]);
    hitCount.textContent = `${hit + 1} of ${hits.length}`;
  }

  function shown(key) {
    const node = data.nodes[key];
    const off = filters.some((box) => !box.checked && node[box.dataset.filter] === box.value);
    return !off && (!moduleChoice.value || node.module === moduleChoice.value);
  }

  function filter() {
    const passing = new Set(data.order.filter(shown));
    for (const [key, element] of view.nodes) element.classList.toggle('gone', !passing.has(key));
    for (const edge of view.edges) edge.element.classList.toggle('gone', !passing.has(edge.before) || !passing.has(edge.after));
    find();
    const left = listing ? [...passing] : [...view.nodes.keys()].filter((key) => passing.has(key));
    nothing.hidden = left.length > 0;
    nothing.textContent = left.length ? '' : 'Nothing in this view passes the filters.';
    if (left.length && !passing.has(current) && !listing) reachable(left[0]);
  }

  function filtered() {
    filter();
    if (!listing && nothing.hidden) fit();
  }

  // Hands -----------------------------------------------------------------------------------------------------------------------

  search.addEventListener('input', find);
  search.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') { event.preventDefault(); walk(event.shiftKey ? -1 : 1); }
  });
  for (const box of [...filters, moduleChoice]) box.addEventListener('change', filtered);
  for (const tab of tabs) tab.addEventListener('click', () => show(tab.dataset.view));
  document.getElementById('in').addEventListener('click', () => zoomBy(1));
  document.getElementById('out').addEventListener('click', () => zoomBy(-1));
  document.getElementById('fit').addEventListener('click', fit);

  function zoomBy(direction) {
    const box = stage.getBoundingClientRect();
    const centre = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
    view.pan.zoomToPoint(view.pan.getScale() * Math.exp(direction * 0.3), centre);
  }

  function move(x, y) {
    const scale = view.pan.getScale();
    view.pan.pan((x * 80) / scale, (y * 80) / scale, { relative: true, animate: false });
  }

  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const keys = {
    '/': () => { search.focus(); search.select(); },
    '+': () => zoomBy(1),
    '=': () => zoomBy(1),
    '-': () => zoomBy(-1),
    0: fit,
  };

  stage.addEventListener('focusin', (event) => {
    const element = event.target.closest('g.node');
    if (!element) return;
    reachable(element.id);
    centre(element.id);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      if (selected) { leave(); return; }
      search.value = '';
      search.blur();
      find();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea')) return;
    const element = event.target.closest?.('g.node');
    const direction = directions[event.key];
    if (element && (event.key === 'Enter' || event.key === ' ')) open(element.id);
    else if (element && direction) step(element.id, ...direction);
    else if (direction && !listing && !event.target.closest('aside')) move(-direction[0], -direction[1]);
    else if (Object.hasOwn(keys, event.key) && !(listing && event.key !== '/')) keys[event.key]();
    else return;
    event.preventDefault();
  });

  const fromHash = () => {
    try { choose(decodeURIComponent(location.hash.slice(1)), { silent: true }); } catch { choose(null); }
  };
  addEventListener('hashchange', fromHash);
  addEventListener('resize', () => { if (!selected && !listing) start(); });
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
