// A part of a video, chosen on its player: two sliders that move the player, and a bar on it.

import { element } from "./dom.js";

const LEAST_S = 0.25;
const STEP_S = 0.01;

export class RangeOnPlayer {
  constructor(video, duration_s) {
    this.video = video;
    this.duration_s = duration_s;
    this.bar = element("div", { class: "part" });
    video.parentNode.append(this.bar);
    [this.start, this.end] = [0, duration_s].map((at_s, index) => this.#slider(["start_time", "duration"][index], ["From", "To"][index], at_s));
    const play = element("button", { type: "button", class: "small", onclick: () => this.#play() }, "Play this part");
    this.node = element("div", { class: "range" }, this.start.node, this.end.node, play);
    this.stopAt = () => video.currentTime >= this.end.get() && video.pause();
    this.#show();
  }

  /** The fields of the API. Without a duration the part goes on to the end. */
  fields() {
    const [from_s, to_s] = [this.start.get(), this.end.get()];
    const start_time = round(from_s);
    return to_s >= this.duration_s - STEP_S ? { start_time } : { start_time, duration: round(to_s - from_s) };
  }

  /** Leave the player as it was. */
  remove() {
    this.video.removeEventListener("timeupdate", this.stopAt);
    this.bar.remove();
  }

  #slider(field, name, value) {
    const shown = element("span", { "aria-hidden": "true" });
    const input = element("input", { type: "range", name: field, min: 0, max: this.duration_s, step: STEP_S, value, "aria-label": name });
    input.addEventListener("input", () => {
      this.#keepOrder(input);
      this.video.removeEventListener("timeupdate", this.stopAt);
      this.video.pause();
      this.video.currentTime = Number(input.value);
      this.#show();
    });
    return { node: element("label", { class: "field strength" }, name, shown, input), input, shown, get: () => Number(input.value) };
  }

  #keepOrder(moved) {
    const [from, to] = [this.start.input, this.end.input];
    if (moved === from) from.value = Math.min(from.value, to.value - LEAST_S);
    else to.value = Math.max(to.value, Number(from.value) + LEAST_S);
  }

  #show() {
    for (const { shown, get } of [this.start, this.end]) shown.textContent = `${get().toFixed(2)} s`;
    this.bar.style.left = `${(this.start.get() / this.duration_s) * 100}%`;
    this.bar.style.right = `${(1 - this.end.get() / this.duration_s) * 100}%`;
  }

  #play() {
    this.video.currentTime = this.start.get();
    this.video.addEventListener("timeupdate", this.stopAt);
    this.video.play();
  }
}

const round = (seconds) => Math.round(seconds * 100) / 100;
