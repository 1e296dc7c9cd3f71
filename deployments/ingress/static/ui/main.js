// The page: the state of the server, the form, and the list of tasks.

import * as api from "./api.js";
import { offerExamples, openComposer } from "./form.js";
import { byId, element } from "./dom.js";
import { add, openGallery } from "./task-list.js";
import { openKeyForm, setRequired } from "./api-key.js";
import { clearProblems, showProblem } from "./errors.js";
import { offerEnhance } from "./enhance.js";
import { offerUpscale } from "./parameters.js";

const HEALTH_INTERVAL_MS = 15000;
const REAL_VIDEO = "For real video, start the server on a machine with a CUDA GPU; it then serves LTX-2.";
// What every user of a built-in model must know. `mark` shows that a notice of the server says it already.
const WARNINGS = {
  "ltx2-demo": {
    mark: "demo model",
    text: `The demo model is running, not LTX-2: it draws a colored shape that moves, with a tone. ${REAL_VIDEO}`,
  },
  "tiny-random-ltx2": { mark: "NOISE", text: `The tiny trial model is running: every video is NOISE. ${REAL_VIDEO}` },
};
const MODEL_STATES = {
  unloaded: "sleeps until the first task",
  downloading: "is being downloaded",
  loading: "is loading",
  ready: "is ready",
  sleeping: "rests, and wakes in seconds",
  failed: "could not be loaded",
};

async function showHealth() {
  if (document.hidden) return;
  const health = await api.health();
  const server = byId("server");
  server.dataset.status = health.status;
  if ("keys_required" in health) setRequired(health.keys_required);
  const { model, queue } = health;
  if (!model) {
    server.textContent = health.reason ?? "The server is not available";
    return;
  }
  const waiting = queue?.queued ? `, ${queue.queued} waiting` : "";
  server.textContent = `${model.name} ${MODEL_STATES[model.state] ?? model.state}${waiting}`;
  showBanners(health);
  offerExamples(model.name);
  offerEnhance(health);
  offerUpscale(health);
}

function showBanners({ model, notices = [] }) {
  // Every user must know that this is not LTX-2; the other notices are for the operator.
  const warning = WARNINGS[model.name];
  const warns = (text) => warning !== undefined && text.includes(warning.mark);
  const banners = notices.map((text) => element("p", { class: warns(text) ? "banner" : "banner aside" }, text));
  if (warning && !notices.some(warns)) banners.unshift(element("p", { class: "banner" }, warning.text));
  const box = byId("banners");
  if (box.textContent !== banners.map((each) => each.textContent).join("")) box.replaceChildren(...banners);
}

setInterval(showHealth, HEALTH_INTERVAL_MS);
document.addEventListener("visibilitychange", showHealth);
openKeyForm(clearProblems);
openComposer(add).catch(showProblem);
await showHealth(); // first, because it tells whether other requests need a key
openGallery();
