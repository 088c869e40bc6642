// Apply PSA: which steps of the coming run are dense, and how dense the others are.

import * as api from "../api.js";
import { description } from "../description.js";
import { editorOf, Follower, requestOf, storedOf } from "../editor/given.js";
import { numberInput, showNumber } from "../editor/controls.js";
import { h, setText } from "../dom.js";
import { percent } from "../figures.js";
import { isLinked, samplingOf, source, widgetValue } from "../graph.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import { mountPanel } from "../node_panel.js";
import { heightBar } from "../run_strip.js";
import { LiveLine } from "./live_line.js";
import { RunEstimate } from "./run_estimate.js";

const WIDTH = 300;
const TYPED = "psa_plan"; // the property that holds what the user typed
const LABELLED = 24; // steps above which the cells have no numbers
// most cells in a row: with numbers, and without
const PER_ROW = [12, 36];

export class ApplyNode {
  constructor(app, node) {
    this.app = app;
    this.node = node;
    this.follower = new Follower(() => this.look());
    this.stop = new AbortController();
    this.cells = h("div", { class: "psa-steps", role: "img" });
    this.text = h("p", { "aria-live": "polite" });
    this.warning = h("p", { class: "psa-plan-warning" });
    this.estimate = new RunEstimate();
    this.live = new LiveLine();
    this.steps = numberInput(
      { low: 1, step: 1 },
      { "aria-label": t("plan.steps") },
      (value, final) => {
        this.typing = !final;
        if (final) this.#type({ steps: value });
      },
    );
    this.steps.addEventListener("blur", () => (this.typing = false));
    this.scheduler = h("select", {
      class: "psa-input psa-select",
      "aria-label": t("plan.scheduler"),
      onchange: () => this.#type({ scheduler: this.scheduler.value }),
    });
    this.from = h("button", { type: "button", class: "psa-link", onclick: () => this.#type(null) });
    this.panel = mountPanel(
      node,
      "psa_plan",
      h(
        "div",
        { class: "psa-plan", role: "group", "aria-label": t("plan.title") },
        h(
          "div",
          { class: "psa-plan-head" },
          h("span", { class: "psa-plan-title" }, t("plan.title")),
          this.from,
        ),
        h(
          "div",
          { class: "psa-plan-inputs" },
          this.steps,
          h("span", {}, t("plan.stepsWord")),
          this.scheduler,
        ),
        this.cells,
        this.text,
        this.warning,
        this.estimate.element,
        this.live.element,
      ),
      { minWidth: WIDTH },
    );
    library.addEventListener("change", () => this.refresh(), { signal: this.stop.signal });
    this.schedulers = { names: [], default: undefined };
    this.ready = this.#start();
  }

  async #start() {
    try {
      this.schedulers = (await description()).schedulers;
    } catch (error) {
      this.#say(error.message, true);
      return;
    }
    if (!this.stop.signal.aborted) await this.refresh();
  }

  close() {
    this.stop.abort();
    this.follower.follow(null);
  }

  async refresh() {
    this.seen = null;
    return this.look();
  }

  #type(part) {
    const { properties } = this.node;
    if (part) properties[TYPED] = { ...this.#sampling().shown, ...properties[TYPED], ...part };
    else delete properties[TYPED];
    this.app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
    this.look();
  }

  /** The sampling that is planned for: typed, else the graph's; `shown` is what the inputs show. */
  #sampling() {
    const found = samplingOf(this.node);
    const typed = this.node.properties[TYPED];
    const shown = {
      steps: typed?.steps ?? found?.steps,
      scheduler: typed?.scheduler ?? (found ? found.scheduler : this.schedulers.default),
    };
    return { found, typed, shown };
  }

  #request({ found, typed, shown }) {
    const own = (name) => widgetValue(this.node, name);
    const request = {
      ...shown,
      schedule: own("schedule"),
      start_percent: own("start_percent"),
      end_percent: own("end_percent"),
    };
    if (found && !typed) {
      const { sampler, denoise, start_step, end_step, shift } = found;
      Object.assign(request, { sampler, denoise, start_step, end_step, shift });
      if (end_step !== undefined && end_step >= shown.steps) delete request.end_step;
    } else if (found?.shift !== undefined) request.shift = found.shift;
    return Object.fromEntries(
      Object.entries(request).filter(([, value]) => value !== undefined && value !== null),
    );
  }

  /** Ask again if anything that the plan depends on has changed. */
  async look() {
    const sampling = this.#sampling();
    this.#showInputs(sampling);
    if (widgetValue(this.node, "enabled") === false) return this.#say(t("plan.off"));
    if (!isLinked(this.node, "preset")) return this.#say(t("plan.noPreset"));
    const from = source(this.node, "preset");
    if (!Number.isInteger(sampling.shown.steps)) return this.#say(t("plan.noSteps"));
    const stored = storedOf(from);
    const editor = editorOf(from);
    const family = stored?.family ?? editor?.video?.now().family ?? editor?.identity.named?.family;
    if (!stored && !editor) return this.#say(t("plan.unknownPreset"));
    this.follower.follow(editor);
    const request = this.#request(sampling);
    const content = stored ? { preset: stored } : { version: editor.state.answer?.yaml ?? null };
    const video = RunEstimate.videoFor(this.node, editor);
    const own = { dense_blocks: widgetValue(this.node, "dense_blocks") ?? "" };
    own.min_tokens = widgetValue(this.node, "min_tokens") ?? 0;
    const key = JSON.stringify([request, content, family, video, own]);
    if (key === this.seen) return;
    this.seen = key;
    try {
      const preset = await requestOf(from);
      if (!preset || !family) throw new Error(t("plan.unknownPreset"));
      if (editor?.state.broken) throw new Error(t("plan.broken"));
      const { dense_blocks: left } = own;
      const answer = await api.plan({ ...preset, family, ...request, ...video, dense_blocks: left });
      if (this.seen !== key) return;
      this.#show(answer);
      const { sparse_steps: sparse, ranges } = answer;
      const plan = { steps: answer.steps.length, sparse, ranges };
      if (video && plan.steps) this.estimate.show({ ...preset, family, ...video, plan, ...own });
      else this.estimate.clear();
    } catch (error) {
      if (this.seen === key) this.#say(error.message, true);
    }
  }

  #showInputs({ found, typed, shown }) {
    // a box in which the user is typing is left alone
    if (!this.typing) showNumber(this.steps, shown.steps);
    const known = found?.node.widgets.find((widget) => widget.name === "scheduler")?.options.values;
    const list = Array.isArray(known) ? known : this.schedulers.names;
    if (this.scheduler.dataset.of !== list.join()) {
      this.scheduler.dataset.of = list.join();
      this.scheduler.replaceChildren(...list.map((name) => h("option", { value: name }, name)));
    }
    this.scheduler.hidden = !list.length;
    this.scheduler.value = shown.scheduler ?? "";
    const node = found ? found.node.title || found.node.type : "";
    setText(
      this.from,
      typed
        ? found
          ? t("plan.useGraph", { node })
          : t("plan.clear")
        : found
          ? t("plan.from", { node })
          : "",
    );
    this.from.hidden = !this.from.textContent;
    this.from.disabled = !typed;
  }

  #say(message, wrong = false) {
    if (!wrong) this.seen = null;
    this.cells.replaceChildren();
    this.cells.hidden = true;
    setText(this.text, message);
    setText(this.warning, "");
    this.estimate.clear();
    this.text.classList.toggle("psa-issue", wrong);
  }

  #show({ steps, text, warning, goes_on: goesOn }) {
    this.text.classList.remove("psa-issue");
    this.cells.hidden = false;
    const many = steps.length > LABELLED;
    this.cells.classList.toggle("psa-steps-many", many);
    this.cells.style.setProperty("--psa-columns", columns(steps.length + !!goesOn, many));
    this.cells.setAttribute("aria-label", text);
    this.cells.replaceChildren(
      ...steps.map((step) => {
        const number = many ? null : h("span", {}, String(step.step));
        const height = heightBar(step.density, step.dense);
        return h("span", { class: "psa-step", title: stepTitle(step) }, height, number);
      }),
      ...(goesOn ? [h("span", { class: "psa-step-on", title: t("plan.goesOn") }, "…")] : []),
    );
    setText(this.text, text);
    setText(this.warning, warning ?? "");
  }
}

function stepTitle({ step, dense, reason, range, density, sigma }) {
  const known = density == null ? t("plan.densityUnknown") : percent(density);
  return [
    t(dense ? "plan.dense" : "plan.sparse", { step }),
    dense ? reason : range,
    dense ? "" : t("plan.density", { density: known }),
    `sigma ${Number(sigma.toPrecision(3))}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Cells in a row: rows of about the same length, so that none has a cell or two alone. */
function columns(cells, many) {
  const rows = Math.ceil(cells / PER_ROW[Number(many)]);
  return rows > 1 ? Math.ceil(cells / rows) : Math.max(cells, PER_ROW[0]);
}
