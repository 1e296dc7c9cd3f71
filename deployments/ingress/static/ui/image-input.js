// The image for the first frame: chosen, dropped or pasted.

import { announce, byId } from "./dom.js";

const NAMES = /\.(jpe?g|png|webp|gif|hei[cf]|hif|avif)$/i; // browsers that do not support HEIC report no type for it

let chosen = null;
let shownUrl = null;

export const chosenImage = () => chosen;

export function setImage(file) {
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  chosen = file;
  shownUrl = file ? URL.createObjectURL(file) : null;
  const preview = byId("preview");
  if (file) preview.src = shownUrl;
  else preview.removeAttribute("src");
  preview.hidden = !file;
  byId("preview-name").hidden = true;
  byId("image-remove").hidden = !file;
  byId("drop-text").hidden = Boolean(file);
  if (!file) byId("image").value = "";
  announce(file ? `Image ${file.name} chosen` : "No image");
}

export function listenForImages() {
  const drop = byId("drop");
  byId("image").addEventListener("change", ({ target }) => target.files.length && setImage(target.files[0]));
  byId("preview").addEventListener("error", showName);
  byId("image-remove").addEventListener("click", () => {
    setImage(null);
    byId("image").focus();
  });
  document.addEventListener("paste", ({ clipboardData }) => take(clipboardData));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer);
  });
}

/** Most browsers cannot show HEIC, but the server can read it. */
function showName() {
  if (!chosen) return;
  byId("preview").hidden = true;
  byId("preview-name").hidden = false;
  byId("preview-name").textContent = `${chosen.name}: chosen, though this browser cannot show it`;
}

function take(data) {
  const file = [...(data?.files ?? [])].find((each) => each.type.startsWith("image/") || NAMES.test(each.name));
  if (file) setImage(file);
}
