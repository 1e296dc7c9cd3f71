// One place for an image: chosen from files or dropped on it, with its preview and its strength.

import { announce, element } from "./dom.js";

const TYPES = "image/jpeg,image/png,image/webp,image/gif,image/heic,image/heif,image/avif,.heic,.heif,.hif,.avif";
const NAMES = /\.(jpe?g|png|webp|gif|hei[cf]|hif|avif)$/i; // browsers that do not support HEIC report no type for it

/** The images among the files of a drop or a paste. */
export const imagesIn = (data) => [...(data?.files ?? [])].filter((each) => each.type.startsWith("image/") || NAMES.test(each.name));

/** Build an input for image files. `attributes` are further ones. */
export function fileInput(attributes) {
  return element("input", { type: "file", class: "hidden-input", accept: TYPES, ...attributes });
}

/**
 * Build a place for the image of an API field. `label` is its title; `more` are elements below the image. `onRemove` is
 * called after the image was taken away by its button.
 */
export function makeSlot(field, label, onRemove, ...more) {
  let file = null;
  let shownUrl = null;
  const input = fileInput({ name: field, "aria-label": `${label}: choose an image` });
  const preview = element("img", { alt: `${label}: the chosen image`, hidden: true });
  const name = element("span", { class: "name", hidden: true });
  const invitation = element("span", {}, "drop, paste or choose");
  const strength = strengthInput(field, label);
  const remove = element("button", { type: "button", class: "remove", "aria-label": `Remove ${label.toLowerCase()}`, title: "Remove", hidden: true }, "×");
  const chooser = element("label", { class: "drop" }, preview, name, element("b", {}, label), invitation, input);
  const node = element("div", { class: "slot" }, chooser, remove, ...more, strength.node);

  const set = (chosen) => {
    if (shownUrl) URL.revokeObjectURL(shownUrl);
    file = chosen;
    shownUrl = file ? URL.createObjectURL(file) : null;
    if (file) preview.src = shownUrl;
    else preview.removeAttribute("src");
    preview.hidden = remove.hidden = strength.node.hidden = !file;
    invitation.hidden = Boolean(file);
    name.hidden = true;
    node.classList.toggle("filled", Boolean(file));
    if (!file) input.value = "";
  };
  input.addEventListener("change", () => {
    if (!input.files.length) return;
    set(input.files[0]);
    announce(`${label}: ${file.name} chosen`);
  });
  remove.addEventListener("click", () => {
    set(null);
    strength.set(1);
    input.focus();
    announce(`${label}: no image`);
    onRemove();
  });
  preview.addEventListener("error", () => {
    if (!file) return; // most browsers cannot show HEIC, but the server can read it
    preview.hidden = true;
    name.hidden = false;
    name.textContent = `${file.name}: chosen, though this browser cannot show it`;
  });
  set(null);
  return { field, label, node, set, file: () => file, strength: strength.get, setStrength: strength.set };
}

function strengthInput(field, label) {
  const input = element("input", { type: "range", name: `${field}_strength`, min: 0, max: 1, step: 0.05, "aria-label": `${label}: strength` });
  const shown = element("span", { "aria-hidden": "true" });
  const get = () => Number(input.value);
  const show = () => (shown.textContent = `${Math.round(get() * 100)} %`);
  const set = (strength) => {
    input.value = strength;
    show();
  };
  input.addEventListener("input", show);
  set(1);
  const title = "How strongly the image is kept: at 100 % as it is";
  return { node: element("label", { class: "strength", title }, "Strength ", shown, input), get, set };
}
