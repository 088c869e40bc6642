// Apply PSA: how much faster the planned run should be.

import * as api from "../api.js";
import { h, setText } from "../dom.js";
import { basis, factsOf, percent, times } from "../figures.js";
import { videoOf } from "../graph.js";
import { t } from "../i18n.js";

export class RunEstimate {
  constructor() {
    this.speed = h("p", { class: "psa-run-speed" });
    this.facts = h("p", { class: "psa-note" });
    this.element = h("div", { class: "psa-run", hidden: true }, this.speed, this.facts);
  }

  clear() {
    this.asked = null;
    this.element.hidden = true;
  }

  /** The size of the video that will be made: the graph's, else the one that the editor shows. */
  static videoFor(node, editor) {
    const video = videoOf(node.graph) ?? editor?.video?.now();
    return video ? { width: video.width, height: video.height, frames: video.frames } : null;
  }

  /** `request`: a preset, its family, the video's size, the plan and Apply PSA's own inputs. */
  async show(request) {
    const asked = (this.asked = JSON.stringify(request));
    let answer;
    try {
      answer = await api.estimate(request);
    } catch (error) {
      if (this.asked === asked) this.#say([error.message, ""], []);
      return;
    }
    if (this.asked !== asked) return;
    const { width, height, frames } = request;
    const speed = runSpeed(answer.run, { width, height, frames });
    this.#say(speed, [meanDensity(answer), ...factsOf(answer)]);
  }

  #say([text, title], facts) {
    setText(this.speed, text);
    this.speed.title = title ?? "";
    this.facts.replaceChildren(
      ...facts.map(([fact, from]) => h("span", { class: "psa-fact", title: from }, fact)),
    );
    this.element.hidden = false;
  }
}

/** [text, basis] of the whole run's density, dense steps and all. */
function meanDensity({ run, density }) {
  return [t("run.density", { density: percent(run.density) }), density.note];
}

const NO_GAIN = { dense: "run.dense" };
const VERDICTS = { faster: "run.faster", even: "run.even", slower: "run.slower" };

function runSpeed(run, video) {
  if (run.speedup == null) return [t("run.unknown"), run.reason];
  if (run.kind in NO_GAIN) return [t(NO_GAIN[run.kind], { reason: run.note }), ""];
  return [t(VERDICTS[run.verdict], { times: times(run), ...video }), basis(run)];
}
