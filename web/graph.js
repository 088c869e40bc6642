// Reading the workflow graph: what is linked to a node, and what it will be sampled with.

const byId = (graph, id) => graph?.getNodeById?.(id) ?? null;

const linkOf = (graph, id) =>
  graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id] ?? null;

/** The node that the server calls "12:7": node 7 of the subgraph that is node 12. Null if gone. */
export function nodeAt(app, id) {
  const path = String(id).split(":");
  let graph = app.rootGraph ?? app.graph?.rootGraph ?? app.graph;
  for (const outer of path.slice(0, -1)) graph = byId(graph, outer)?.subgraph;
  return byId(graph, path.at(-1));
}

/** The node that feeds an input, past reroutes and bypassed nodes; null if none can be seen. */
export function source(node, inputName) {
  const input = node.inputs?.find((slot) => slot.name === inputName);
  let from = input ? origin(node.graph, input.link) : null;
  for (let hops = 0; from && passesThrough(from) && hops < 100; hops++) {
    const through = from.inputs?.find(
      (slot) => slot.link != null && (from.type === "Reroute" || slot.type === input.type),
    );
    from = through ? origin(from.graph, through.link) : null;
  }
  return from && passesThrough(from) ? null : from;
}

const MUTED = 2;
const BYPASSED = 4;
const passesThrough = (node) => node.type === "Reroute" || node.mode === BYPASSED;
// and with a subgraph all that is in it
const isOff = (node) => node.mode === MUTED || node.mode === BYPASSED;

// what links inside a subgraph call its borders; newer frontends have text for numbers
const FROM_OUTSIDE = "-10";
const TO_OUTSIDE = "-20";

/** The node that is a subgraph in the graph around it, the first of several; null at the top. */
function nodeOf(graph) {
  const root = graph?.rootGraph ?? graph;
  for (const around of [root, ...(root?.subgraphs?.values?.() ?? [])]) {
    const found = around?.nodes?.find((node) => node.subgraph === graph);
    if (found) return found;
  }
  return null;
}

/** The node that a link comes from, past the borders of subgraphs; null if none can be seen. */
function origin(graph, id) {
  let outer = null;
  for (let hops = 0; id != null && hops < 100; hops++) {
    const link = linkOf(graph, id);
    if (String(link?.origin_id) === FROM_OUTSIDE) {
      outer = outer?.subgraph === graph ? outer : nodeOf(graph);
      id = outer?.inputs?.[link.origin_slot]?.link;
      graph = outer?.graph;
      continue;
    }
    const from = byId(graph, link?.origin_id);
    if (!from?.subgraph || isOff(from)) return from;
    outer = from;
    graph = from.subgraph;
    id = graph.outputs?.[link.origin_slot]?.linkIds?.[0];
  }
  return null;
}

/** The nodes that links lead to, past the borders of subgraphs; `outer` is `graph` around itself. */
function* targets(graph, ids, outer = null) {
  for (const id of ids ?? []) {
    const link = linkOf(graph, id);
    if (String(link?.target_id) === TO_OUTSIDE) {
      const around = outer ?? nodeOf(graph);
      yield* targets(around?.graph, around?.outputs?.[link.target_slot]?.links);
      continue;
    }
    const to = byId(graph, link?.target_id);
    if (to?.subgraph && !isOff(to)) {
      yield* targets(to.subgraph, to.subgraph.inputs?.[link.target_slot]?.linkIds, to);
    }
    if (to) yield to;
  }
}

export const isLinked = (node, inputName) =>
  node.inputs?.find((slot) => slot.name === inputName)?.link != null;

/** All nodes of a run that get something from `node`, directly or through others, nearest first. */
function* downstream(node) {
  const seen = new Set([node]);
  const queue = [node];
  while (queue.length) {
    const from = queue.shift();
    for (const output of from.outputs ?? []) {
      for (const to of targets(from.graph, output.links)) {
        if (seen.has(to) || to.mode === MUTED) continue;
        seen.add(to);
        queue.push(to);
        if (!isOff(to)) yield to;
      }
    }
  }
}

/** The same upstream. */
function* upstream(node) {
  const seen = new Set([node]);
  const queue = [node];
  while (queue.length) {
    const to = queue.shift();
    for (const input of to.inputs ?? []) {
      const from = origin(to.graph, input.link);
      if (!from || seen.has(from) || from.mode === MUTED) continue;
      seen.add(from);
      queue.push(from);
      if (!isOff(from)) yield from;
    }
  }
}

/** The value that a widget will have in the run, or undefined where another node supplies it. */
export function widgetValue(node, name) {
  if (isLinked(node, name)) return undefined;
  const value = node.widgets?.find((widget) => widget.name === name)?.value;
  return value === "" ? undefined : value;
}

const number = (value) => (Number.isFinite(value) ? value : undefined);

/**
 * The sampling that `node`'s model goes into: {node, steps, scheduler, sampler, denoise, start_step,
 * end_step, shift}; what another node supplies is undefined. Null if no sampler is found.
 */
export function samplingOf(node) {
  const reached = [...downstream(node)];
  const sampler = reached.find(
    (n) =>
      number(widgetValue(n, "steps")) !== undefined &&
      n.widgets?.some((w) => w.name === "scheduler"),
  );
  if (!sampler) return null;
  const shifts = reached.filter(
    (n) =>
      number(widgetValue(n, "shift")) !== undefined && n.outputs?.some((o) => o.type === "MODEL"),
  );
  const before = [...upstream(node)].find(
    (n) =>
      number(widgetValue(n, "shift")) !== undefined && n.outputs?.some((o) => o.type === "MODEL"),
  );
  const named =
    widgetValue(sampler, "sampler_name") ??
    reached
      .map((n) => [...upstream(n)].map((u) => widgetValue(u, "sampler_name")))
      .flat()
      .find(Boolean);
  return {
    node: sampler,
    steps: number(widgetValue(sampler, "steps")),
    scheduler: widgetValue(sampler, "scheduler"),
    sampler: named,
    denoise: number(widgetValue(sampler, "denoise")),
    start_step: number(widgetValue(sampler, "start_at_step")),
    end_step: number(widgetValue(sampler, "end_at_step")),
    shift: number(widgetValue(shifts.at(-1) ?? before ?? {}, "shift")),
  };
}

/**
 * The video that the graph makes, or one around it: {width, height, frames, title} of a node that
 * says all three, there or in a subgraph.
 */
export function videoOf(graph) {
  for (let around = graph; around; around = nodeOf(around)?.graph) {
    const video = videoIn(around);
    if (video) return video;
  }
  return null;
}

function videoIn(graph) {
  const nodes = (graph.nodes ?? []).filter((node) => !isOff(node));
  for (const node of nodes) {
    const width = number(widgetValue(node, "width"));
    const height = number(widgetValue(node, "height"));
    const frames = number(widgetValue(node, "length"));
    if (width && height && frames) return { width, height, frames, title: node.title || node.type };
  }
  for (const { subgraph } of nodes) {
    const video = subgraph && videoIn(subgraph);
    if (video) return video;
  }
  return null;
}
