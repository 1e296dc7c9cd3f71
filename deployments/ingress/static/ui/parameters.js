// The exact parameters: one labeled input for each parameter of the API, with its default and limits.

import { byId, element } from "./dom.js";

const IMAGES = ["image", "end_image", "keyframe", "keyframe_at"];
const STRENGTHS = ["image_strength", "end_image_strength", "keyframe_strength"];
const ELSEWHERE = new Set(["prompt", "webhook_url", "enhance_prompt", "loras", "camera_motion", ...IMAGES, ...STRENGTHS]);

let upscales = false;

export function makeInputs(schemas) {
  for (const [name, schema] of Object.entries(schemas)) {
    if (!ELSEWHERE.has(name)) byId("parameters").append(makeField(name, schema));
  }
  showUpscale();
}

/** Show the choice of two stages where the server has them. Its inputs may be made before or after. */
export function offerUpscale(health) {
  upscales = health.upscales ?? false;
  showUpscale();
}

function showUpscale() {
  const field = document.getElementById("upscale")?.closest(".field");
  if (field) field.hidden = !upscales;
}

/** All parameters to send, without those that are switched off. An empty number means the server's default, an empty seed means a random seed. */
export function read(schemas) {
  const fields = {};
  for (const [name, schema] of Object.entries(schemas)) {
    const input = byId(name);
    if (ELSEWHERE.has(name) || !input || input.disabled) continue;
    if (name === "seed") fields.seed = input.value === "" ? null : wholeNumber(input.value);
    else if (isSwitch(schema)) fields[name] = input.checked;
    else if (!isNumber(schema)) fields[name] = input.value;
    else if (input.value !== "") fields[name] = Number(input.value);
  }
  return fields;
}

/** A number if JavaScript can represent it exactly, otherwise its digits as text. */
const wholeNumber = (text) => (Number.isSafeInteger(Number(text)) ? Number(text) : text);

export function write(schemas, fields) {
  for (const [name, schema] of Object.entries(schemas)) {
    const input = byId(name);
    if (ELSEWHERE.has(name) || !input) continue;
    if (isSwitch(schema)) input.checked = fields[name] ?? schema.default;
    else input.value = name in fields ? (fields[name] ?? "") : initial(name, schema);
  }
}

function makeField(name, schema) {
  const hint = `${name}-hint`;
  const described = element("p", { id: hint, class: "quiet" }, explain(name, schema));
  const field = element("div", { class: "field" }, element("label", { for: name }, element("code", {}, name)));
  field.append(makeInput(name, schema, hint), described);
  return field;
}

function makeInput(name, schema, hint) {
  const shared = { id: name, name, "aria-describedby": hint };
  if (schema.enum) {
    const choice = element("select", shared, ...schema.enum.map((each) => element("option", { value: each }, each)));
    choice.value = schema.default;
    return choice;
  }
  if (isSwitch(schema)) return element("input", { ...shared, type: "checkbox", checked: schema.default });
  if (!isNumber(schema)) {
    const area = element("textarea", { ...shared, rows: 2 });
    area.value = schema.default ?? "";
    return area;
  }
  const { minimum, maximum, multipleOf, type } = numberOf(schema);
  const step = multipleOf ?? (type === "integer" ? 1 : "any");
  const empty = name === "seed" ? "a new one each time" : "";
  const input = element("input", { ...shared, type: "number", min: minimum, max: maximum, step, placeholder: empty });
  input.value = initial(name, schema);
  return input;
}

const initial = (name, schema) => (name === "seed" ? "" : (schema.default ?? ""));
const numberOf = (schema) => (schema.anyOf ?? [schema]).find((each) => ["integer", "number"].includes(each.type));
const isSwitch = (schema) => schema.type === "boolean";
const isNumber = (schema) => numberOf(schema) !== undefined;

function explain(name, schema) {
  const parts = [schema.description];
  const { minimum, maximum, multipleOf } = numberOf(schema) ?? {};
  if (minimum !== undefined && name !== "seed") {
    const multiple = multipleOf ? `, a multiple of ${multipleOf}` : "";
    parts.push(`${minimum} to ${maximum}${multiple}, default ${schema.default ?? "none"}.`);
  }
  return parts.filter(Boolean).join(" ");
}
