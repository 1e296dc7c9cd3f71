// The list of tasks, newest first. Each task is followed until it has ended.

import * as api from "./api.js";
import { makeCard } from "./task-card.js";
import { fill, follow, goOnFrom } from "./form.js";
import { announce, byId } from "./dom.js";
import { clearProblems, showProblem } from "./errors.js";
import { forget, keep, recent } from "./history.js";

const RENEW_EARLIER_MS = 30000;
const RENEW_AGAIN_MS = 15000;

const files = new Map(); // task id -> its images with their files, which are lost when the page reloads

/**
 * Show the earlier tasks of this browser, below those that were submitted while the page loaded. Tasks that the server
 * no longer knows are removed.
 */
export function openGallery() {
  const shown = new Set(Array.from(byId("cards").children, (card) => card.dataset.task));
  for (const entry of recent()) if (!shown.has(entry.id)) byId("cards").append(show(entry));
  showEmptiness();
}

/** Show a new task. An edit, or one with a control video, has its `route` and the `size` of its source. */
export function add(fields, images, answer, { route, size } = {}) {
  const places = images.map(({ file, ...place }) => place);
  const entry = { id: answer.task_id, fields, seed: answer.seed, images: places, route, size };
  files.set(entry.id, images);
  keep(entry);
  show(entry).scrollIntoView({ block: "nearest" });
  announce("The task is accepted");
}

function show(entry) {
  const { card, update, preview, renew } = makeCard(entry, {
    renew: () => refresh(),
    cancel: () => attempt(() => api.remove(entry.id)),
    again: () => again(entry),
    reuse: () => reuse(entry),
    edit: async (fields, { route, size }) => add(fields, [], await api.submit(fields, [], route), { route, size }),
    goOn: (url) => attempt(async () => goOnFrom(await api.download(url, "last-frame.png"), entry.fields)),
    follow: () => follow(entry.id),
    remove: () => attempt(() => removeTask(entry, drop)),
  });
  let timer = null;
  const refresh = async () => {
    const body = await api.look(entry.id).catch(() => null);
    if (body) renew(body);
    if (body) renewInTime(body);
  };
  const renewInTime = ({ url_expires_at }) => {
    clearTimeout(timer);
    if (!url_expires_at) return;
    timer = setTimeout(refresh, Math.max(RENEW_AGAIN_MS, url_expires_at * 1000 - Date.now() - RENEW_EARLIER_MS));
  };
  const receive = (body) => {
    update(body);
    renewInTime(body);
  };
  const stop = api.follow(entry.id, (body) => (body === null || body.state === "deleted" ? drop() : receive(body)), preview);
  const drop = () => {
    stop?.();
    clearTimeout(timer);
    card.remove();
    forget(entry.id);
    showEmptiness();
  };
  byId("cards").prepend(card);
  showEmptiness();
  return card;
}

async function again(entry) {
  const images = imagesOf(entry);
  const lost = images.find(({ file }) => !file);
  if (lost) {
    reuse(entry);
    showProblem({ field: lost.field, message: `Choose ${images.length > 1 ? "the files" : "the file"} again: the browser did not keep them.` });
    return;
  }
  const fields = { ...entry.fields, seed: null };
  await attempt(async () => add(fields, images, await api.submit(fields, images, entry.route), entry));
}

function reuse(entry) {
  fill({ ...entry.fields, seed: entry.seed }, imagesOf(entry));
  byId("prompt").focus();
}

const imagesOf = (entry) => files.get(entry.id) ?? entry.images;

async function removeTask(entry, drop) {
  await api.remove(entry.id).catch((error) => {
    if (!error.gone) throw error; // the task is already deleted
  });
  drop();
}

async function attempt(action) {
  clearProblems();
  try {
    await action();
  } catch (error) {
    showProblem(error);
    byId("problem").scrollIntoView({ block: "nearest" });
  }
}

function showEmptiness() {
  byId("empty").hidden = byId("cards").childElementCount > 0;
}
