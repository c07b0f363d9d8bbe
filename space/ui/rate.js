// The rating page: agree, practise, judge twenty pairs, thanks. Nothing here knows a model's name.
const root = element.querySelector(".rate");
const { words, language, routes } = JSON.parse(root.dataset.settings);
const NAME = "nijigen-study";
const CHOICES = { ArrowLeft: "A", ArrowRight: "B", ArrowDown: "tie", x: "both_bad", l: "cannot_load" };
const KEYS = Object.fromEntries(Object.entries(CHOICES).map(([key, choice]) => [choice, key]));
const LABELS = { A: "rate_choose_a", B: "rate_choose_b", tie: "rate_tie", both_bad: "rate_bad", cannot_load: "rate_broken" };
const SCALES = ["rate_likeness", "rate_style", "rate_artefacts"];
const UNDO_MS = 5000;

const remember = (facts) => localStorage.setItem(NAME, JSON.stringify({ ...recall(), ...facts }));
const recall = () => JSON.parse(localStorage.getItem(NAME) || "{}");
const say = (key, fields = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => fields[name]);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

const live = make("p", { class: "live", role: "status", "aria-live": "polite" });
const body = make("div", { class: "body" });
root.replaceChildren(make("h2", {}, say("rate_title")), body, live);
const show = (...nodes) => body.replaceChildren(...nodes);
const tell = (sentence, kind = "note") => { live.textContent = sentence; live.dataset.kind = kind; };

class Refused extends Error {}

// A request outlives its tab (`keepalive`) and is repeated until the server has answered; its key makes that harmless.
const post = async (route, facts) => {
  for (let wait = 400; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const answer = await fetch(`${routes}/${route}`, {
        method: "POST", keepalive: true, body: JSON.stringify(facts), headers: { "content-type": "application/json" },
      });
      if (answer.ok) return await answer.json();
      if (answer.status < 500) throw new Refused((await answer.json()).detail);
      tell(say(answer.status === 503 ? "rate_preparing" : "rate_retry"), "busy");
    } catch (error) {
      if (error instanceof Refused) throw error;
      tell(say("rate_retry"), "busy");
    }
    await pause(wait);
  }
};

const guarded = (work) => async (...values) => {
  try { await work(...values); } catch (error) { tell(say("rate_problem", { reason: error.message }), "error"); }
};

// ---- the session

let session = null;   // {session_id, next, done, total}
let current = null;   // {trial, pictures, since, busy, asking}
let ahead = null;     // promise of the next pair
let undo = null;      // {trial_id, number, timer}

const who = () => ({ token: recall().token });

const load = async (number) => {
  const trial = await post("trial", { ...who(), session_id: session.session_id, number });
  const fetched = await Promise.all([trial.photo, trial.left, trial.right].map((token) => picture(token)));
  return { trial, pictures: fetched };
};

const picture = async (token, shelf = "picture") => {
  const image = new Image();
  try {
    const answer = await fetch(`${routes}/${shelf}/${token}`, { cache: "no-store" });
    image.src = URL.createObjectURL(await answer.blob());
    await image.decode();
  } catch { image.dataset.broken = "true"; }
  return image;
};

const welcome = () => {
  const known = Boolean(recall().token);
  const begin = make("button", { class: "primary", type: "button", onclick: guarded(known ? resume : join) },
    say(known ? "rate_continue" : "rate_agree"));
  show(make("p", { class: "consent" }, say("rate_consent")), make("p", { class: "pilot", hidden: true }, say("rate_pilot")),
    begin, arena(), withdrawal());
  fetch(`${routes}/about`).then((answer) => answer.json()).then(({ protocol }) => {
    root.querySelector(".pilot")?.toggleAttribute("hidden", protocol !== "pilot-v1");
  }).catch(() => {});
};

const join = async () => {
  const { token, code, protocol } = await post("join", { consent: true });
  remember({ token, code, protocol });
  await resume();
};

const resume = async () => {
  tell(say("rate_loading"), "busy");
  const { pending } = recall();
  if (pending) { await post("rating", pending).catch(() => {}); remember({ pending: null }); }
  try {
    session = await post("session", { ...who(), language });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    localStorage.removeItem(NAME);
    welcome();
    throw error;
  }
  await next(session.next);
};

const next = async (number) => {
  if (number > session.total) return thanks();
  tell(say("rate_loading"), "busy");
  const { trial, pictures } = await (ahead && ahead.number === number ? ahead.pair : load(number));
  ahead = number < session.total ? { number: number + 1, pair: load(number + 1) } : null;
  ahead?.pair.catch(() => { ahead = null; });
  if (trial.answered) return next(number + 1);
  display(trial, pictures);
};

const display = (trial, pictures) => {
  const broken = pictures.some((image) => image.dataset.broken);
  ["rate_photo", "rate_a", "rate_b"].forEach((key, index) => { pictures[index].alt = say(key); });
  const [photo, left, right] = pictures.map((image, index) =>
    make("figure", { class: ["photo", "left", "right"][index] }, image,
      make("figcaption", {}, say(["rate_photo", "rate_a", "rate_b"][index]))));
  const own = trial.number === undefined;  // the arena: no session, no undo
  const counter = own ? say("rate_arena") : trial.number < 1 ? say("rate_practice", { number: trial.number + 3 })
    : say("rate_progress", { number: trial.number, total: session.total });
  show(
    make("div", { class: "head" }, make("p", { class: "counter" }, counter),
      own ? "" : make("progress", { max: session.total, value: Math.max(0, trial.number - 1), "aria-label": counter })),
    make("div", { class: own ? "pair own" : "pair" }, photo, left, right),
    make("p", { class: "question" }, say("rate_question")),
    make("div", { class: "choices", role: "group", "aria-label": say("rate_question") },
      ...Object.keys(LABELS).map((choice) => make("button", {
        type: "button", "data-choice": choice, "aria-keyshortcuts": KEYS[choice],
        disabled: broken && choice !== "cannot_load",
        onclick: (event) => answer(choice, event.pointerType === "touch" ? "touch" : event.detail ? "mouse" : "key"),
      }, say(LABELS[choice])))),
    make("div", { class: "tools" },
      make("button", { type: "button", class: "zoom", "aria-pressed": "false", "aria-keyshortcuts": "z", onclick: zoom }, say("rate_zoom")),
      make("button", { type: "button", class: "undo", "aria-keyshortcuts": "u", hidden: !undo, onclick: guarded(takeBack) }, say("rate_undo"))),
    make("p", { class: "keys" }, say("rate_keys")),
  );
  current = { trial, pictures, since: performance.now(), busy: false, asking: false };
  if (undo) tell(`✓ ${say("rate_saved")}`, "saved"); else tell("");
};

const answer = guarded(async (choice, input) => {
  if (!current || current.busy || current.asking) return;
  const button = root.querySelector(`[data-choice=${choice}]`);
  if (button.disabled) return;
  current.busy = true;
  root.querySelectorAll(".choices button").forEach((node) => { node.disabled = true; });
  button.dataset.chosen = "true";
  tell(say("rate_saving"), "busy");
  const { trial, since } = current;
  const given = {
    trial_id: trial.trial_id, choice, input, decision_ms: Math.round(performance.now() - since),
    viewport_width: window.innerWidth, viewport_height: window.innerHeight, pixel_ratio: window.devicePixelRatio,
  };
  if (trial.number === undefined) return reveal(await post("arena/rating", { ...given, language }));
  const pending = { ...who(), ...given, attempt: trial.attempt };
  remember({ pending });
  let saved;
  try { saved = await post("rating", pending); } finally { remember({ pending: null }); }
  tell(`✓ ${say("rate_saved")}`, "saved");
  offerUndo(trial, saved);
  if (saved.expected) await feedback(saved);
  if (saved.scaled_side && !(await scales(trial, saved.scaled_side))) return;
  if (current.trial === trial) await next(trial.number + 1);
});

const offerUndo = (trial, saved) => {
  clearTimeout(undo?.timer);
  undo = null;
  if (saved.attempt > 0 || trial.number < 1) return;
  undo = { ...trial, timer: setTimeout(() => { undo = null; root.querySelector(".undo")?.setAttribute("hidden", ""); }, UNDO_MS) };
  root.querySelector(".undo")?.removeAttribute("hidden");
};

const takeBack = async () => {
  if (!undo) return;
  const { trial_id, number, timer } = undo;
  clearTimeout(timer);
  undo = null;
  await post("undo", { ...who(), trial_id });
  current = null;
  ahead = { number, pair: load(number) };
  await next(number);
  tell(say("rate_undone"));
};

const feedback = async ({ answered, expected }) => {
  const right = answered === expected;
  tell(right ? say("rate_right") : say("rate_wrong", { answer: say(LABELS[expected]) }), right ? "saved" : "note");
  await pause(right ? 1200 : 2600);
};

// Resolves to false when the answer was taken back meanwhile.
const scales = (trial, side) => new Promise((resolve) => {
  const name = say(side === "left" ? "rate_a" : "rate_b");
  const marks = {};
  current.asking = true;
  root.querySelector(`figure.${side}`).dataset.asked = "true";
  const finish = guarded(async (send) => {
    form.remove();
    current.asking = false;
    if (send) await post("scales", { ...who(), trial_id: trial.trial_id, marks: SCALES.map((key) => marks[key]) });
    resolve(current?.trial === trial);
  });
  const rows = SCALES.map((key) => make("fieldset", {}, make("legend", {}, say(key)),
    ...[1, 2, 3, 4, 5].map((mark) => make("label", {},
      make("input", { type: "radio", name: key, value: mark, onchange: () => {
        marks[key] = mark;
        if (Object.keys(marks).length === SCALES.length) finish(true);
        else form.querySelector("fieldset:not(:has(:checked)) input").focus();
      } }), String(mark)))));
  const form = make("form", { class: "scales" }, make("p", {}, say("rate_scales", { side: name })), ...rows,
    make("button", { type: "button", class: "skip", onclick: () => finish(false) }, say("rate_skip")));
  root.querySelector(".choices").replaceWith(form);
  form.querySelector("input").focus();
  form.skip = () => finish(false);
});

const zoom = () => {
  const on = root.querySelector(".pair").toggleAttribute("data-zoomed");
  root.querySelector(".zoom").setAttribute("aria-pressed", String(on));
};

const thanks = async () => {
  current = null;
  const { own, majority } = await post("finish", who());
  const share = (value) => (value == null ? say("rate_none") : new Intl.NumberFormat(language, { style: "percent" }).format(value));
  tell("");
  show(
    make("p", { class: "thanks" }, say("rate_thanks")),
    make("p", {}, say("rate_own", { share: share(own) })),
    make("p", {}, say("rate_majority", { share: share(majority) })),
    make("p", {}, `${say("rate_code")} `, make("code", {}, recall().code)),
    make("button", { class: "primary", type: "button", onclick: guarded(resume) }, say("rate_more")),
    withdrawal(),
  );
};

// ---- the arena: the visitor's own photo, two hidden models, names after the answer

const arena = () => {
  const field = make("input", { type: "file", accept: "image/*", "aria-label": say("rate_arena_file"),
    onchange: guarded(() => challenge(field.files[0])) });
  return make("details", { class: "arena" }, make("summary", {}, say("rate_arena")),
    make("p", {}, say("rate_arena_note")), field);
};

const challenge = async (file) => {
  if (!file) return;
  tell(say("rate_drawing"), "busy");
  for (;;) {
    const answer = await fetch(`${routes}/arena`, { method: "POST", body: file });
    if (answer.ok) { const duel = await answer.json(); return fight(duel); }
    if (answer.status !== 503) throw new Error((await answer.json()).detail);
    tell(say("rate_preparing"), "busy");
    await pause(2000);
  }
};

const fight = async (duel) => {
  const pictures = await Promise.all([duel.photo, duel.left, duel.right].map((token) => picture(token, "arena")));
  display(duel, pictures);
};

const reveal = ({ left, right }) => {
  tell(`✓ ${say("rate_saved")}`, "saved");
  root.querySelector(".choices").replaceWith(
    make("p", { class: "names" }, say("rate_names", { left, right })),
    make("button", { type: "button", class: "primary", onclick: () => { current = null; tell(""); welcome(); } }, say("rate_again")));
  current = null;
};

const withdrawal = () => {
  const field = make("input", { type: "text", maxlength: 40, value: recall().code, "aria-label": say("rate_code"), autocomplete: "off" });
  const remove = guarded(async () => {
    const { deleted } = await post("withdraw", { code: field.value });
    localStorage.removeItem(NAME);
    welcome();
    tell(say("rate_deleted", { count: deleted }));
  });
  return make("details", { class: "withdraw" }, make("summary", {}, say("rate_withdraw")),
    make("div", {}, field, make("button", { type: "button", onclick: remove }, say("rate_withdraw"))));
};

document.addEventListener("keydown", (event) => {
  if (!root.isConnected || root.offsetParent === null || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input[type=text], textarea")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "u" && undo) { event.preventDefault(); guarded(takeBack)(); return; }
  if (current?.asking) {
    const open = root.querySelector(".scales fieldset:not(:has(:checked))");
    if (/^[1-5]$/.test(key) && open) { event.preventDefault(); open.querySelector(`[value="${key}"]`).click(); }
    return;
  }
  if (event.target.closest("[role=tablist]") || !current) return;
  if (CHOICES[key]) { event.preventDefault(); answer(CHOICES[key], "key"); }
  else if (key === "z") zoom();
});

welcome();
