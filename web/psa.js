// The pack's part of the page: registers the extension, hands every PSA node its face.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { ApplyNode } from "./apply/step_plan.js";
import { EditorNode } from "./editor/editor_node.js";
import { EDITOR, LOADER } from "./editor/given.js";
import { nodeAt } from "./graph.js";
import { loadWords } from "./i18n.js";
import { LoaderNode } from "./loader/loader_node.js";
import { guardQueue } from "./queue_guard.js";
import { TextNode } from "./text_panel.js";

const FACES = {
  [EDITOR]: [EditorNode, "psaEditor"],
  [LOADER]: [LoaderNode, "psaLoader"],
  PSAApply: [ApplyNode, "psaApply"],
  PSACompare: [TextNode, "psaSaid"],
  PSASelfTest: [TextNode, "psaSaid"],
};

// large enough for the pictures that they show: one that finds no room is drawn over what is below
const SIZES = { PSAReport: [480, 560], PSACalibrate: [400, 830] };

// The page gives every input named "seed" a control that randomises it after each run; with a new
// seed PSA Calibrate would sample again where it could use what it has measured.
const FIXED_SEED = ["PSACalibrate"];

const alive = new Set();

function addStyle() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("./style.css", import.meta.url).href;
  document.head.append(link);
}

/** All nodes check at once whether something that they show has changed: at most once a frame. */
let planned = false;
function lookAll() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    for (const face of alive) face.look();
  });
}

/** What was typed a moment ago is in the node before a prompt is made of it. */
function settleBeforeQueueing() {
  const { graphToPrompt } = app;
  app.graphToPrompt = async function (...args) {
    await Promise.all([...alive].map((face) => face.state?.flush()));
    return graphToPrompt.apply(this, args);
  };
}

/** Messages of a run, while it lasts and at its end, go to the node that put PSA on. */
function listenToRuns() {
  const tell = (what) => ({ detail }) => nodeAt(app, detail.node)?.psaApply?.live[what](detail);
  api.addEventListener("psa.progress", tell("progress"));
  api.addEventListener("psa.run_finished", tell("finished"));
}

app.registerExtension({
  name: "psa.editor",

  async init() {
    addStyle();
    await loadWords(app.extensionManager?.setting?.get?.("Comfy.Locale") || "en");
    guardQueue(api, () => [...alive].filter((face) => face instanceof EditorNode));
    settleBeforeQueueing();
    api.addEventListener("graphChanged", lookAll);
    listenToRuns();
  },

  nodeCreated(node) {
    if (node.comfyClass in SIZES) node.setSize(SIZES[node.comfyClass]);
    if (FIXED_SEED.includes(node.comfyClass)) {
      const control = node.widgets.find(({ name }) => name === "control_after_generate");
      if (control) control.value = "fixed";
    }
    const [Face, name] = FACES[node.comfyClass] ?? [];
    if (!Face) return;
    const face = new Face(app, node);
    node[name] = face;
    alive.add(face);
    const removed = node.onRemoved;
    node.onRemoved = function () {
      alive.delete(face);
      face.close();
      return removed?.apply(this, arguments);
    };
    const linked = node.onConnectionsChange;
    node.onConnectionsChange = function () {
      const result = linked?.apply(this, arguments);
      lookAll();
      return result;
    };
  },

  loadedGraphNode(node) {
    const [, name] = FACES[node.comfyClass] ?? [];
    node[name]?.refresh();
    requestAnimationFrame(() => node[name]?.panel.fit());
  },

  afterConfigureGraph: lookAll,
});
