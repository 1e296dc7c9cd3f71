// The LoRAs of the server: a check box and a scale for each. Where the server has none, nothing is shown.

import { byId, element } from "./dom.js";

let room = Infinity;

/** `schema` is that of the field, in which the server says what it knows of each LoRA. */
export function offerLoras({ "x-loras": known = {} } = {}) {
  byId("loras").hidden = Object.keys(known).length === 0;
  byId("lora-list").replaceChildren(...Object.entries(known).map(([name, about]) => row(name, about)));
  byId("lora-list").addEventListener("change", bound);
}

/** Let the user choose at most as many. */
export function boundLoras(most) {
  room = most;
  bound();
}

/** The chosen LoRAs, as they are sent. */
export function chosenLoras() {
  const chosen = boxes().filter((box) => box.checked);
  return chosen.map((box) => ({ name: box.value, scale: Number(scaleOf(box).value) }));
}

/** Choose the LoRAs of an earlier task. Those that the server no longer has are left out. */
export function setLoras(loras = []) {
  const scales = new Map(loras.map(({ name, scale = 1 }) => [name, scale]));
  for (const box of boxes()) {
    box.checked = scales.has(box.value);
    scaleOf(box).value = scales.get(box.value) ?? 1;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  }
}

function row(name, { trigger, max_scale }) {
  const box = element("input", { type: "checkbox", name: "lora", value: name });
  const shown = element("output", {}, "1");
  const scale = element("input", { type: "range", min: 0, max: max_scale, step: 0.05, value: Math.min(1, max_scale), "aria-label": `Scale of ${name}` });
  const show = () => {
    scale.hidden = shown.hidden = !box.checked;
    shown.textContent = scale.value;
  };
  box.addEventListener("change", show);
  scale.addEventListener("input", show);
  show();
  const about = trigger ? [element("span", { class: "quiet" }, `say “${trigger}” in the prompt`)] : [];
  return element("div", { class: "row lora" }, element("label", {}, box, " ", name), ...about, scale, shown);
}

function bound() {
  const full = chosenLoras().length >= room;
  for (const box of boxes()) box.disabled = full && !box.checked;
}

const boxes = () => [...byId("lora-list").querySelectorAll("[name=lora]")];
const scaleOf = (box) => box.closest(".lora").querySelector("[type=range]");
