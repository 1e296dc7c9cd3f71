// The card of one task: its progress, then its video, and buttons for its actions.

import { asCurl, copy } from "./curl.js";
import { CONTROL, controlLoras, fileUrl, preview } from "./api.js";
import { announce, element } from "./dom.js";
import { offerEdits } from "./edits.js";
import { AUDIO, isImage } from "./image-fields.js";
import { adjustments, keptUntil, remaining, stageOf, statusOf } from "./format.js";

/** Build a card. `actions` holds a function for each button. */
export function makeCard(entry, actions) {
  const { fields, size = fields } = entry;
  const stage = element("div", { class: "stage" });
  stage.style.aspectRatio = `${size.width ?? 3} / ${size.height ?? 2}`;
  const status = element("p", { class: "status" });
  const adjusted = element("p", { class: "quiet", hidden: true });
  const buttons = element("div", { class: "buttons" });
  const place = element("div", { hidden: true });
  const card = element("article", { class: "card", "data-task": entry.id, "aria-label": shorten(fields.prompt) });
  card.append(stage, status, element("p", { class: "prompt", title: fields.prompt }, fields.prompt), facts(entry), adjusted, buttons, place);
  const offered = (body) => (body.url ? offerEdits(entry, body, stage, place, actions.edit) : []);
  let shown = null;
  const showPreview = previewer(entry.id, stage);
  return {
    card,
    preview: showPreview,
    /** Set fresh urls of the same files, because signed urls expire. A playing video keeps its url. */
    renew(body) {
      const video = stage.querySelector("video");
      if (!video || !body.url || video.src === fileUrl(body.url)) return;
      buttons.replaceChildren(...offer(entry, body, actions, offered(body)));
      if (!video.paused && !video.error) return;
      const at_s = video.currentTime;
      video.src = fileUrl(body.url);
      video.currentTime = at_s;
    },
    update(body) {
      const kind = body.status === "processing" ? body.state : body.status + body.state;
      showStatus(status, body);
      adjusted.textContent = adjustments(body);
      adjusted.hidden = !body.adjusted;
      if (body.status === "processing") showProgress(stage, body);
      if (body.preview_url) showPreview(body.preview_url);
      if (shown !== kind) {
        if (body.status !== "processing") showEnd(stage, body, fields, actions.renew);
        buttons.replaceChildren(...offer(entry, body, actions, offered(body)));
      }
      if (shown === null ? false : stageOf(body) !== card.dataset.said) announce(`${shorten(fields.prompt)}: ${stageOf(body)}`);
      card.dataset.said = stageOf(body);
      card.dataset.state = body.state;
      shown = kind;
    },
  };
}

function showStatus(status, body) {
  status.replaceChildren(element("span", { class: "dot" }), element("b", {}, statusOf(body)));
  const left = remaining(body);
  if (left) status.append(element("span", { class: "quiet" }, left));
  if (body.url && body.expires_at) status.append(element("span", { class: "quiet" }, keptUntil(body)));
}

function showProgress(stage, body) {
  let bar = stage.querySelector("progress");
  if (!bar) {
    bar = element("progress", { max: 1, "aria-label": "Progress" });
    stage.replaceChildren(element("div", { class: "shimmer" }), element("span", { class: "percent" }), bar);
  }
  bar.value = body.progress;
  stage.querySelector(".percent").textContent = body.state === "queued" ? "" : `${Math.floor(body.progress * 100)}%`;
}

/** Return a function that shows a preview behind the progress of a task, unless it shows that one already. */
function previewer(id, stage) {
  let known = null;
  return async (url) => {
    if (url === known) return;
    known = url;
    const content = await preview(id, url);
    const bar = stage.querySelector("progress");
    if (!content || url !== known || !bar) {
      if (content) URL.revokeObjectURL(content);
      return;
    }
    const image = element("img", { class: "preview", alt: "The video so far", src: content, onload: () => URL.revokeObjectURL(content) });
    stage.querySelector(".preview")?.remove();
    stage.querySelector(".shimmer").after(image);
  };
}

function showEnd(stage, body, fields, renew) {
  if (!body.url) {
    stage.style.aspectRatio = "auto";
    stage.replaceChildren(element("p", { class: "failure" }, body.error ?? statusOf(body)));
    return;
  }
  const video = element("video", { controls: true, loop: true, playsinline: true, preload: "metadata" });
  video.setAttribute("aria-label", `Video: ${shorten(fields.prompt)}`);
  if (body.poster_url) video.poster = fileUrl(body.poster_url);
  video.src = fileUrl(body.url);
  video.addEventListener("error", renew);
  stage.replaceChildren(video);
}

const fromImages = (count) => count > 0 && (count === 1 ? "from an image" : `from ${count} images`);

const MADE_AS = {
  async_extend: "a longer video",
  async_retake: "a part made anew",
  async_v2v: "a changed video",
  [CONTROL]: "follows a control video",
};

/** Whether the form can show the request of a card again. */
const isOfForm = ({ route }) => !route || route === CONTROL;

function facts({ fields, seed, images, route, size = fields }) {
  const { width, height } = size;
  const { num_frames, num_inference_steps } = fields; // parameters that the server chose are missing here
  const list = [
    MADE_AS[route],
    fromImages(images.filter(isImage).length),
    images.some(({ field }) => field === AUDIO) && "for given audio",
    width && height && `${width} × ${height}`,
    num_frames && `${num_frames} frames`,
    num_inference_steps && `${num_inference_steps} steps`,
    seed !== undefined && `seed ${seed}`,
  ].filter(Boolean);
  return element("ul", { class: "facts", "aria-label": "Settings" }, ...list.map((each) => element("li", {}, each)));
}

function offer(entry, body, actions, edits) {
  const button = (text, onclick, kind = "small") => element("button", { type: "button", class: kind, onclick }, text);
  const curl = button("Copy as curl", async () => {
    await copy(asCurl({ ...entry.fields, seed: entry.seed ?? entry.fields.seed }, entry.images, entry.route));
    curl.textContent = "Copied";
    announce("The command is copied");
    setTimeout(() => (curl.textContent = "Copy as curl"), 1500);
  });
  if (body.status === "processing") return [button("Cancel", actions.cancel), curl];
  const again = button(body.url ? "Again with another seed" : "Try again", actions.again, body.url ? "small strong" : "small");
  const rest = [again, ...(isOfForm(entry) ? [button("Edit", actions.reuse)] : []), curl, button("Remove", actions.remove)];
  if (!body.url) return rest;
  return [link(body.url, "Download"), ...goOn(body.downloads, actions), followButton(actions), ...edits, ...moreFiles(body.downloads), ...rest];
}

const FILES = {
  audio: "Audio",
  last_frame: "Last frame",
  thumbnail: "Thumbnail",
  spritesheet: "Spritesheet",
  webm: "WebM",
  mov: "ProRes",
  gif: "GIF",
};

const link = (url, text) =>
  element("a", { class: "small button", href: fileUrl(url), download: true, target: "_blank", rel: "noopener" }, text);

/** The button that makes the last frame of the video the first one of the next. */
function goOn(downloads, actions) {
  if (!downloads?.last_frame) return [];
  const use = async ({ target }) => {
    target.disabled = true; // the server makes the file now
    await actions.goOn(downloads.last_frame);
    target.disabled = false;
  };
  return [element("button", { type: "button", class: "small", onclick: use }, "Use last frame")];
}

/** The button that makes the video the control video of the next. It stays hidden where the server has no IC-LoRA. */
function followButton(actions) {
  const made = element("button", { type: "button", class: "small", hidden: true, onclick: actions.follow }, "Use as control video");
  controlLoras().then((known) => (made.hidden = !Object.keys(known).length), () => {});
  return made;
}

/** A menu of the files that the server makes from the video. A video without audio has no audio file. */
function moreFiles(downloads) {
  if (!downloads) return [];
  const links = Object.entries(FILES).filter(([name]) => downloads[name]).map(([name, text]) => link(downloads[name], text));
  return [element("details", { class: "files" }, element("summary", { class: "small button" }, "More files"), element("div", { class: "buttons" }, ...links))];
}

function shorten(text) {
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
