// The video that an estimate is for: what the user typed, else the graph's, else a usual one.

import { videoOf } from "../graph.js";

const PROPERTY = "psa_video";
const USUAL = { width: 832, height: 480, frames: 81 };

export class Video {
  /** `family()`: the model family that is most likely meant. */
  constructor(node, family, changed) {
    this.node = node;
    this.family = family;
    this.changed = changed;
  }

  /** {family, width, height, frames}; `typed`: by the user, `graph`: there is one, `from`: its node. */
  now() {
    const typed = this.node.properties[PROPERTY] ?? {};
    const graph = videoOf(this.node.graph);
    const { width, height, frames } = { ...USUAL, ...graph, ...typed };
    return {
      family: typed.family ?? this.family(),
      width,
      height,
      frames,
      graph: Boolean(graph),
      typed: Object.keys(typed).some((name) => name !== "family"),
      from: graph?.title ?? null,
    };
  }

  /** Remember what the user typed. */
  choose(part) {
    this.#keep({ ...this.node.properties[PROPERTY], ...part });
  }

  /** Back to the graph's size. */
  forgetSize() {
    const { family } = this.node.properties[PROPERTY] ?? {};
    this.#keep(family ? { family } : {});
  }

  /** After a preset of another family was loaded. */
  forgetFamily() {
    const { family: _, ...size } = this.node.properties[PROPERTY] ?? {};
    this.#keep(size);
  }

  #keep(video) {
    if (Object.keys(video).length) this.node.properties[PROPERTY] = video;
    else delete this.node.properties[PROPERTY];
    this.changed();
  }
}
