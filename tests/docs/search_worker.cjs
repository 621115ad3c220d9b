// Answer searches as a visitor's browser does: the theme's own worker, unchanged, reads the site's own index.
// node search_worker.cjs SITE  <  ["word", …]  >  {"word": [["page/", …the headings under which it was found], …best first], …}
const fs = require("fs"), path = require("path"), vm = require("vm")

const site = process.argv[2]
const workers = path.join(site, "assets/javascripts/workers")
const program = fs.readdirSync(workers).find(name => /^search\..*\.js$/.test(name))
const words = JSON.parse(fs.readFileSync(0, "utf-8"))
const index = JSON.parse(fs.readFileSync(path.join(site, "search/search_index.json"), "utf-8"))

let heard, answered
class Worker {
  postMessage(message) { heard({ data: message }) }
}
const world = {
  console, setTimeout, Worker,
  addEventListener: (_, listener) => { heard = listener },
  postMessage: message => answered(message),
}
world.self = world
vm.createContext(world)
vm.runInContext(fs.readFileSync(path.join(workers, program), "utf-8"), world)
vm.runInContext(fs.readFileSync(path.join(site, "search.js"), "utf-8"), world)  // what the site adds on each page
const worker = new Worker()
const ask = message => new Promise(resolve => { answered = resolve; worker.postMessage(message) })

async function main() {
  const SETUP = 0, QUERY = 2
  await ask({ type: SETUP, data: { ...index, options: { suggest: false } } })
  const found = {}
  for (const word of words) {
    const { data } = await ask({ type: QUERY, data: word })
    found[word] = data.items.map(items => {
      const page = items[0].location.split("#")[0]
      return [page, ...items.filter(item => item.score > 0).map(item => item.title.replace(/<[^>]+>/g, ""))]
    })
  }
  process.stdout.write(JSON.stringify(found))
}
main()
