"use strict";
(() => {
const { explanation, before, after } = JSON.parse(document.getElementById("data").textContent);
const views = { before, after };
const SVG = "http://www.w3.org/2000/svg";
const details = document.getElementById("details");
const panes = {};
const hue = group => Math.round(group * 137.508) % 360; // golden angle: neighbouring groups differ

// --- words -----------------------------------------------------------------------------------------

const amount = (n, unit) => {
  for (const [factor, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(n) >= 0.9995 * factor) return `${Number((n / factor).toPrecision(3))} ${prefix}${unit}`;
  return `${n} ${unit}`.trim();
};
const bytes = n => amount(n, "B");
const flops = n => amount(n, "FLOP");
const seconds = s => Math.abs(s) < 1e-3 ? `${Number((s * 1e6).toPrecision(3))} us` : `${Number((s * 1e3).toPrecision(3))} ms`;
const shape = dims => dims.map(d => d === null ? "?" : d).join("x") || "scalar";
const operatorName = o => o.nodes.join("+") || `${o.op}#${o.number}`;
const compact = data => Object.entries(data || {}).filter(([, v]) => v !== null && v !== false && v !== "" && !(Array.isArray(v) && !v.length))
  .map(([k, v]) => `${k}=${Array.isArray(v) ? v.join("x") : typeof v === "number" && !Number.isInteger(v) ? v.toPrecision(4) : v}`).join(" ");

// --- making elements -------------------------------------------------------------------------------

const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const draw = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter(child => child !== null));
  return element;
}
const table = rows => make("table", {}, ...rows.filter(row => row[1] !== null && row[1] !== "").map(([name, ...cells]) =>
  make("tr", {}, make("th", { scope: "row" }, name), ...cells.map(cell => cell instanceof Node ? make("td", {}, cell) : make("td", {}, String(cell))))));

// --- the graphs ------------------------------------------------------------------------------------

function idOf(entry) { return `${entry.kind} ${entry.item}`; }

class Pane {
  constructor(name) {
    this.name = name;
    this.view = views[name];
    this.section = document.getElementById(name);
    this.nodes = new Map();
    this.edgesOf = this.view.nodes.map(() => ({ in: [], out: [] }));
    this.scene = draw("g");
    this.svg = draw("svg", { tabindex: 0, role: "application", "aria-label": `${this.section.getAttribute("aria-label")}: ${this.view.nodes.length} nodes; arrow keys move` }, this.scene);
    const edges = draw("g"), nodes = draw("g");
    this.edgeElements = this.view.edges.map((edge, i) => { const g = this.edge(edge, i); edges.append(g); return g; });
    this.nodeElements = this.view.nodes.map((node, i) => { const g = this.node(node, i); nodes.append(g); return g; });
    this.scene.append(edges, nodes);
    this.section.append(this.svg);
    for (const [text, label, act] of [["+", "zoom in", () => this.zoom(1.3)], ["−", "zoom out", () => this.zoom(1 / 1.3)], ["all", "show all", () => this.showAll()]]) {
      const button = make("button", { type: "button", "aria-label": `${label}: ${name}` }, text);
      button.addEventListener("click", act);
      this.section.querySelector(".zoom").append(button);
    }
    this.svg.addEventListener("wheel", event => this.wheel(event), { passive: false });
    this.svg.addEventListener("pointerdown", event => this.press(event));
    this.svg.addEventListener("click", event => this.click(event));
    this.svg.addEventListener("keydown", event => this.key(event));
  }

  node(node, i) {
    const group = node.kind === "group" ? node.item : node.kind === "operator" ? explanation.operators[node.item].group : null;
    const kinds = ["node"];
    if (group !== null) kinds.push("grouped");
    if (node.kind === "input" || node.kind === "output") kinds.push("terminal");
    if (node.kind === "operator" && group === null) kinds.push("outside");
    const element = draw("g", { class: kinds.join(" "), transform: `translate(${node.x} ${node.y})`, "data-node": i, "data-id": idOf(node) },
      draw("title", {}, node.lines.join(" ")),
      draw("rect", { x: -node.w / 2, y: -18, width: node.w, height: 36 }),
      draw("text", { y: -3 }, node.lines[0]), draw("text", { y: 11, class: "second" }, node.lines[1]));
    if (group !== null) element.style.setProperty("--hue", hue(group));
    if (!this.nodes.has(idOf(node))) this.nodes.set(idOf(node), i);
    return element;
  }

  edge(edge, i) {
    const [a, b] = edge.ends.map(end => this.view.nodes[end]);
    this.edgesOf[edge.ends[0]].out.push(i);
    this.edgesOf[edge.ends[1]].in.push(i);
    const points = [[a.x, a.y + 18], ...edge.via, [b.x, b.y - 18]];
    let path = `M${points[0]}`;
    for (let k = 1; k < points.length; k++) {
      const [x0, y0] = points[k - 1], [x1, y1] = points[k], middle = (y0 + y1) / 2;
      path += `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
    }
    const kind = edge.joined !== undefined ? "joined" : edge.apart !== undefined || edge.edges ? "apart" : "terminal";
    const element = draw("g", { class: `edge ${kind}`, "data-edge": i },
      draw("path", { class: "drawn", d: path }), ...(kind === "terminal" ? [] : [draw("path", { class: "hit", d: path })]));
    if (kind === "joined") element.style.setProperty("--hue", hue(explanation.joined[edge.joined].group));
    return element;
  }

  // zoom and pan: the scene's transform is x, y, scale

  place() {
    this.scene.setAttribute("transform", `translate(${this.x} ${this.y}) scale(${this.scale})`);
    this.scene.classList.toggle("far", this.scale < 0.3);
  }
  size() { const box = this.svg.getBoundingClientRect(); return [box.width || 600, box.height || 600]; }
  showAll() {
    const [width, height] = this.size();
    this.scale = Math.min(1.2, width / (this.view.width + 40), height / (this.view.height + 40));
    this.x = (width - this.view.width * this.scale) / 2;
    this.y = (height - this.view.height * this.scale) / 2;
    this.place();
  }
  showTop() { // readable, from where the network begins
    const [width] = this.size();
    this.scale = Math.max(0.55, Math.min(1, width / (this.view.width + 40)));
    const first = this.view.nodes[0] || { x: 0, y: 0 };
    this.x = this.view.width * this.scale < width ? (width - this.view.width * this.scale) / 2 : width / 2 - first.x * this.scale;
    this.y = 8;
    this.place();
  }
  zoom(factor, px, py) {
    const [width, height] = this.size(), [cx, cy] = px === undefined ? [width / 2, height / 2] : [px, py];
    const scale = Math.min(4, Math.max(0.01, this.scale * factor)), real = scale / this.scale;
    this.x = cx - (cx - this.x) * real; this.y = cy - (cy - this.y) * real; this.scale = scale;
    this.place();
  }
  wheel(event) {
    event.preventDefault();
    const box = this.svg.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
  }
  press(event) {
    const from = [event.clientX, event.clientY], start = [this.x, this.y];
    this.moved = false;
    const move = e => {
      const dx = e.clientX - from[0], dy = e.clientY - from[1];
      if (!this.moved && Math.hypot(dx, dy) < 4) return;
      this.moved = true;
      [this.x, this.y] = [start[0] + dx, start[1] + dy];
      this.place();
    };
    const end = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", end); removeEventListener("pointercancel", end); };
    addEventListener("pointermove", move); addEventListener("pointerup", end); addEventListener("pointercancel", end);
  }
  click(event) {
    if (this.moved) return;
    const node = event.target.closest(".node"), edge = event.target.closest(".edge");
    if (node) select(this.view.nodes[+node.dataset.node]);
    else if (edge) selectEdge(this, +edge.dataset.edge);
    else select(null);
  }
  center(i) {
    const [width, height] = this.size(), node = this.view.nodes[i];
    this.scale = Math.max(this.scale, 0.5);
    this.x = width / 2 - node.x * this.scale; this.y = height / 2 - node.y * this.scale;
    this.place();
  }
  seen(i) { // whether a node is inside of the pane, and readable
    const [width, height] = this.size(), node = this.view.nodes[i];
    const x = this.x + node.x * this.scale, y = this.y + node.y * this.scale;
    return this.scale >= 0.3 && x > 0 && y > 0 && x < width && y < height;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowUp: "in", ArrowDown: "out" }[event.key];
    const current = this.current ?? null;
    if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "0") this.showAll();
    else if (event.key.startsWith("Arrow")) {
      let next = current === null ? 0 : null;
      if (current !== null && step) {
        const edges = this.edgesOf[current][step];
        if (edges.length) next = this.view.edges[edges[0]].ends[step === "in" ? 0 : 1];
      } else if (current !== null) next = this.beside(current, event.key === "ArrowRight" ? 1 : -1);
      if (next !== null && this.view.nodes[next]) {
        select(this.view.nodes[next]);
        this.current = next;
        if (!this.seen(next)) this.center(next);
      }
    } else return;
    event.preventDefault();
  }
  beside(current, direction) {
    const here = this.view.nodes[current];
    let best = null;
    this.view.nodes.forEach((node, i) => {
      const distance = (node.x - here.x) * direction;
      if (node.y === here.y && distance > 0 && (best === null || distance < (this.view.nodes[best].x - here.x) * direction)) best = i;
    });
    return best;
  }

  mark(chosen, related, edge) {
    this.scene.querySelectorAll(".chosen, .related").forEach(element => element.classList.remove("chosen", "related"));
    this.current = null;
    for (const id of related) { const i = this.nodes.get(id); if (i !== undefined) this.nodeElements[i].classList.add("related"); }
    const i = chosen === null ? undefined : this.nodes.get(chosen);
    if (i !== undefined) { this.current = i; this.nodeElements[i].classList.add("chosen"); }
    if (edge !== null) this.edgeElements[edge].classList.add("chosen");
    const first = i ?? related.map(id => this.nodes.get(id)).find(n => n !== undefined);
    if (first !== undefined && edge === null && this.svg !== document.activeElement && !this.seen(first)) this.center(first);
  }
}

// --- choosing --------------------------------------------------------------------------------------

function select(entry) {
  if (entry === null) { markAll(null, []); return overview(); }
  const related = [];
  if (entry.kind === "group") related.push(...explanation.groups[entry.item].operators.map(n => `operator ${n}`));
  if (entry.kind === "operator" && explanation.operators[entry.item].group !== null) related.push(`group ${explanation.operators[entry.item].group}`);
  markAll(idOf(entry), related);
  ({ group: showGroup, operator: showOperator, input: showValue, output: showValue })[entry.kind](entry.item, entry.kind);
  details.scrollTop = 0;
}
function markAll(chosen, related) { for (const pane of Object.values(panes)) pane.mark(chosen, related, null); }

function selectEdge(pane, i) {
  const edge = pane.view.edges[i];
  markAll(null, []);
  pane.mark(null, edge.ends.map(end => idOf(pane.view.nodes[end])), i);
  if (edge.joined !== undefined) show("Fused edge", joinedText(explanation.joined[edge.joined]));
  else if (edge.apart !== undefined) show("Edge that is not fused", apartText(explanation.edges[edge.apart]));
  else show(edge.edges.length > 1 ? "Edges that are not fused" : "Edge that is not fused", ...edge.edges.map(e => apartText(explanation.edges[e])));
}

function link(text, entry) {
  const button = make("button", { type: "button", class: "link" }, text);
  button.addEventListener("click", () => select(entry));
  return button;
}
const groupLink = number => link(`group ${number}`, { kind: "group", item: number });
const operatorLink = number => {
  const operator = explanation.operators[number];
  return link(`${operator.op} ${operatorName(operator)}`, { kind: "operator", item: number });
};
function show(title, ...parts) { details.replaceChildren(make("h3", {}, title), ...parts); }
function section(title, parts) { return parts.length ? [make("h4", {}, title), ...parts] : []; }

// --- what is told of each --------------------------------------------------------------------------

function apartText(edge) {
  return make("div", { class: "reason" }, operatorLink(edge.producer_number), " → ", operatorLink(edge.consumer_number),
    make("div", {}, make("span", { class: "kind" }, `${edge.kind}: `), edge.reason),
    table(Object.entries(edge.numbers).map(([name, value]) => [name.replaceAll("_", " "), /bytes/.test(name) && typeof value === "number" ? bytes(value) : value])));
}
function joinedText(edge) {
  return make("div", { class: "joined-reason" }, operatorLink(edge.producer_number), " → ", operatorLink(edge.consumer_number),
    make("div", {}, make("span", { class: "kind" }, "fused: "), "both are in ", groupLink(edge.group), `; ${bytes(edge.bytes)} ${edge.stored ? "are stored all the same, for other readers" : "are never stored"}`));
}
function rewriteText(r) {
  return make("div", { class: r.reason ? "reason" : "joined-reason" }, make("span", { class: "kind" }, `${r.numeric_class}: `), r.rule,
    make("div", {}, `at ${r.nodes.join(", ")}: ${flops(r.flops_before)} → ${flops(r.flops_after)}`), ...(r.reason ? [make("div", {}, `refused: ${r.reason}`)] : []));
}
function rewritesOf(nodes) {
  const names = new Set(nodes);
  return section("Rewritten before planning", explanation.rewrites.filter(r => r.nodes.some(n => names.has(n))).map(rewriteText));
}
function showOperator(number) {
  const o = explanation.operators[number];
  const where = o.place === "host" ? "on the host, without kernels" : o.place === "in place" ? "nowhere: its operands are written in place" : groupLink(o.group);
  const out = list => list.filter(e => e.producer_number === number || e.consumer_number === number);
  show(`${o.op}: ${operatorName(o)}`, table([["runs in", where], ["ONNX nodes", o.nodes.join(", ")], ["mapping type", o.mapping],
    ["result", `${shape(o.shape)} ${o.dtype}`], ["bytes", bytes(o.bytes)], ["work", flops(o.flops)]]),
    ...section("Fused with", out(explanation.joined).map(joinedText)), ...section("Not fused with", out(explanation.edges).map(apartText)), ...rewritesOf(o.nodes));
}
function showGroup(number) {
  const g = explanation.groups[number], members = new Set(g.operators);
  const edges = explanation.edges.filter(e => members.has(e.producer_number) || members.has(e.consumer_number));
  show(`Group ${number}`, table([[g.anchors.length > 1 ? "anchors" : "anchor", g.anchors.join(", ") || "none"], ["mapping type", g.mapping], ["mode", g.mode],
    ["kernel", g.kernel === null ? "" : `${g.kernel}: ${compact({ ...g.schedule, kind: null, ...(g.reuse || g.side_by_side ? { stages: null, orders: null } : {}) })}`], ["result", shape(g.shape)], ["launches", g.launches],
    ["work", flops(g.flops)], ["computed again", flops(g.flops_added)], ["read", bytes(g.bytes_read)], ["written", bytes(g.bytes_written)],
    ["not stored", bytes(g.bytes_not_stored)], ["saved by fusion", `${bytes(g.bytes_saved)} of traffic`], ["by the cost model", g.predicted_seconds === null ? "not scheduled" : seconds(g.predicted_seconds)], ["by a roofline", seconds(g.seconds)]]),
    ...proofOf(g.proof), ...reuseOf(g.reuse), ...partsOf(g.side_by_side),
    ...section(`${g.operators.length} operators`, g.operators.map(n => make("div", {}, operatorLink(n)))),
    ...section("Not fused with its neighbours", edges.map(apartText)), ...rewritesOf(g.nodes));
}
const by = sizes => sizes.join("x");
const halo = sizes => sizes.some(n => n) ? ` (halo ${by(sizes)})` : "";
function launchRow(name, l) { return [name, l.nodes.join(" "), seconds(l.seconds), `${bytes(l.dram_bytes)} of DRAM${l.tile.length ? ` in tiles of ${by(l.tile)}` : ""}`]; }
function proofOf(proof) {
  if (!proof) return [];
  const rows = [...proof.parts.map(l => launchRow("alone", l)), ...proof.runner_up.map(l => launchRow("runner-up", l)),
    ...(proof.larger ? [launchRow("with neighbours", proof.larger)] : [])];
  const more = proof.larger ? [make("div", {}, `With the kernel that takes in neighbours, the whole network takes ${seconds(proof.larger_adds)} more.`)] : [];
  return section("Why it is one kernel", [make("div", { class: "joined-reason" }, proof.reason), ...(rows.length ? [table(rows)] : [table(Object.entries(proof.numbers))]), ...more]);
}
function reuseOf(r) {
  if (!r) return [];
  const gpu = r.threads > 1, places = { read: "DRAM, read", written: "DRAM, written", kept: gpu ? "shared memory" : "scratch", register: "registers", inline: "computed where it is read" };
  const facts = [["tile", `${by(r.tile)} of ${by(r.frame)}: ${r.tiles.reduce((a, b) => a * b, 1)} tiles`], ["in flight", `${r.at_once} of ${r.most_at_once} that ${r.device} has room for, by ${r.limited_by}; rounds: ${r.rounds}`],
    [gpu ? "shared memory" : "scratch", `${bytes(r.memory_bytes)}, ${bytes(r.kept_bytes)} of it between stages; limit ${bytes(r.memory_limit)}`], ["registers", r.registers ? `${r.registers} for a thread` : ""],
    ["operations", `${flops(Math.round(r.flops))}, ${flops(Math.round(r.flops_added))} of them again`], ["from L2", gpu ? bytes(Math.round(r.l2_bytes)) : ""], ["DRAM", bytes(r.dram_bytes)],
    ["time", `${seconds(r.seconds)}: ${seconds(r.busiest_seconds)} in the busiest processor, ${seconds(r.dram_seconds)} of DRAM traffic meanwhile`]];
  const told = parts => parts.filter(part => part).join(" · ");
  const stages = r.stages.map(s => [`${s.number} ${s.op}`, told([s.nodes.join(" "), `box ${by(s.box)}${halo(s.halo)} of ${by(s.shape)}`, `${s.kind} ${compact(s.schedule)}`,
    `${flops(Math.round(s.flops))}, ${s.factor.toFixed(2)} times in all tiles`, `${seconds(s.compute_seconds)}, at least ${seconds(s.latency_seconds)}`])]);
  const values = r.values.map(v => [`${v.name} ${v.op}`, told([places[v.place], v.first === v.last ? `stage ${v.first}` : `stages ${v.first} to ${v.last}`,
    v.box.length ? `box ${by(v.box)}${halo(v.halo)} of ${by(v.shape)}` : by(v.shape), v.box_bytes ? bytes(v.box_bytes) : "", v.dram_bytes ? `${bytes(v.dram_bytes)} of DRAM` : ""])]);
  return [...section("Computed tile by tile", [table(facts)]), ...section(`${stages.length} stages for each tile`, [table(stages)]), ...section("Where values live", [table(values)])];
}
function partsOf(s) {
  if (!s) return [];
  const facts = [["blocks", `${s.tiles} of ${s.threads} threads`], ["shared memory", `${bytes(s.shared_bytes)} of ${bytes(s.memory_limit)}`], ["DRAM", bytes(s.dram_bytes)]];
  const rows = s.parts.map(p => [p.nodes.join(" "), `${p.kind}: ${p.tiles} blocks · ${bytes(p.shared_bytes)} of shared memory · ${flops(p.flops)} · ${bytes(p.dram_bytes)} of DRAM`]);
  return [...section(`${s.parts.length} parts side by side`, [table(facts), table(rows)]), ...s.parts.flatMap(p => reuseOf(p.reuse))];
}
function showValue(i, kind) {
  const value = explanation[`${kind}s`][i];
  show(`${kind[0].toUpperCase()}${kind.slice(1)} ${value.name}`, table([["shape", shape(value.shape)]]),
    ...section(kind === "input" ? "Read by" : "Made by", value.operators.map(n => make("div", {}, operatorLink(n)))));
}
function overview() {
  const t = explanation.totals, kinds = {};
  for (const edge of explanation.edges) kinds[edge.kind] = (kinds[edge.kind] || 0) + 1;
  const number = (label, a, b, c) => [label, a, b, c];
  show("The whole network", table([["operators", t.operators], ["groups", t.groups], ["launches", t.launches], ["work", flops(t.flops)],
    ["computed again", flops(t.flops_added)], ["memory traffic", bytes(t.bytes_moved)], ["intermediates stored", bytes(t.intermediate_bytes)],
    ["not stored", bytes(t.bytes_not_stored)], ["saved by fusion", `${bytes(t.bytes_saved)} of traffic`], ["by the cost model", seconds(t.predicted_seconds)]]),
    ...section(`${t.edges_not_fused} edges not fused, ${t.edges_fused} fused`, [table(Object.entries(kinds).sort((a, b) => b[1] - a[1]).map(([kind, n]) => [`by ${kind}`, n]))]),
    ...explanation.overrides.flatMap(o => section(`What ${o.option} costs: with, without, difference`, [table([
      number("launches", o.with.launches, o.without.launches, o.cost.launches),
      number("traffic", ...["bytes_moved"].flatMap(k => [o.with[k], o.without[k], o.cost[k]].map(bytes))),
      number("by the cost model", ...[o.with, o.without, o.cost].map(t => seconds(t.predicted_seconds)))])])),
    ...section("Rewrites before planning", explanation.rewrites.filter(r => !r.reason).map(rewriteText)),
    ...section("Rewrites that were refused", explanation.rewrites.filter(r => r.reason).map(rewriteText)));
}

// --- the page --------------------------------------------------------------------------------------

document.getElementById("totals").textContent =
  `${explanation.totals.operators} operators in ${explanation.totals.groups} groups, ${explanation.totals.launches} launches; ${bytes(explanation.totals.bytes_saved)} of traffic saved`;
for (const name of ["before", "after"]) { panes[name] = new Pane(name); }
for (const pane of Object.values(panes)) pane.showTop();
overview();

const main = document.querySelector("main");
for (const radio of document.querySelectorAll("[name=view]"))
  radio.addEventListener("change", () => { main.className = radio.value; for (const pane of Object.values(panes)) pane.showTop(); });

const names = new Map();
for (const operator of explanation.operators) for (const name of [operatorName(operator), ...operator.nodes]) if (!names.has(name)) names.set(name, { kind: "operator", item: operator.number });
for (const group of explanation.groups) names.set(`group ${group.number}`, { kind: "group", item: group.number });
document.getElementById("names").append(...[...names.keys()].map(name => make("option", { value: name })));
const query = document.getElementById("query");
function find() {
  const text = query.value.trim().toLowerCase();
  const name = [...names.keys()].find(n => n.toLowerCase() === text) ?? [...names.keys()].find(n => text && n.toLowerCase().includes(text));
  if (name === undefined) return show("Not found", make("p", {}, `Nothing is called '${query.value}'.`));
  select(names.get(name));
}
document.getElementById("find").addEventListener("submit", event => { event.preventDefault(); find(); });
query.addEventListener("change", find);
addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== query) { event.preventDefault(); query.focus(); }
  if (event.key === "Escape") { query.value = ""; select(null); }
});
})();
