// Inputs with their labels, each as {node, input}.

import { element } from "./dom.js";

/** A slider that shows its value as `text` says. `show` shows it again after a change by a script. */
export function slider(label, name, range, text) {
  const shown = element("span", { "aria-hidden": "true" });
  const input = element("input", { type: "range", name, ...range, "aria-label": label });
  const show = () => (shown.textContent = text(input.value));
  input.addEventListener("input", show);
  show();
  return { node: element("label", { class: "field strength" }, label, shown, input), input, show };
}

/** A choice of one option: value -> text. */
export function choice(label, name, options) {
  const input = element("select", { name, "aria-label": label }, ...Object.entries(options).map(([value, text]) => element("option", { value }, text)));
  return { node: element("label", { class: "field" }, label, input), input };
}

export const percent = (value) => `${Math.round(value * 100)} %`;
