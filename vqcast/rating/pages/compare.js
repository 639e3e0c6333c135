"use strict";
// Plays both videos in step, and sends the answer until the server has it.

const pair = document.getElementById("pair");
const { rater, token } = pair.dataset;
const frames = Number(pair.dataset.frames);
const given = Number(pair.dataset.given);
const HOLD = 4; // frames' time for which the last one stays
const RETRY = 2000; // milliseconds
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" };

const canvases = ["left", "right"].map((side) => document.getElementById(side));
const buttons = ["left", "tie", "right"].map((answer) => document.getElementById(`answer-${answer}`));
const phase = document.getElementById("phase");
const fault = document.getElementById("fault");
const pause = document.getElementById("pause");

let strips = null;
let shown = -1;
let played = 0; // frames' time, pauses not counted
let last = null;
let paused = false;
let open = false; // whether an answer would be taken

function load(side) {
  return new Promise((resolve, reject) => {
    const strip = new Image();
    strip.onload = () => resolve(strip);
    strip.onerror = reject;
    strip.src = `/picture/${encodeURIComponent(token)}/${side}`;
  });
}

function draw(frame) {
  canvases.forEach((canvas, index) => {
    const strip = strips[index];
    const { naturalWidth: width } = strip;
    const height = strip.naturalHeight / frames;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    canvas.getContext("2d").drawImage(strip, 0, frame * height, width, height, 0, 0, width, height);
    canvas.classList.toggle("predicted", frame >= given);
  });
  if (frame === 0 && given) phase.textContent = "Real, the same on both sides";
  if (frame === given) phase.innerHTML = "<b>Made up</b>";
}

function tick(now) {
  if (last !== null && !paused) played += ((now - last) / 1000) * Number(pair.dataset.fps);
  last = now;
  const frame = Math.min(Math.floor(played % (frames + HOLD)), frames - 1);
  if (frame !== shown) {
    shown = frame;
    draw(frame);
  }
  if (!open && played >= frames && strips.sent === undefined) allow(true);
  requestAnimationFrame(tick);
}

function allow(yes) {
  open = yes;
  buttons.forEach((button) => (button.disabled = !yes));
}

async function send(answer) {
  if (!open) return;
  allow(false);
  strips.sent = answer;
  for (;;) {
    try {
      const response = await fetch("/answer", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ rater, token, answer }),
      });
      // Whatever was refused is not asked again: what comes next is for the server to say.
      if (response.status < 500) break;
    } catch {
      // The server is away.
    }
    fault.textContent = "The server does not answer. Your answer is sent again until it does.";
    await new Promise((resolve) => setTimeout(resolve, RETRY));
  }
  location.reload();
}

function setPaused(yes) {
  paused = yes;
  pause.setAttribute("aria-pressed", String(yes));
}

buttons.forEach((button) => button.addEventListener("click", () => send(button.id.slice("answer-".length))));
pause.addEventListener("click", () => setPaused(!paused));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.repeat) return;
  if (event.key in KEYS) {
    event.preventDefault();
    send(KEYS[event.key]);
  } else if (event.key.toLowerCase() === "p") {
    setPaused(!paused);
  }
});

Promise.all(["left", "right"].map(load)).then(
  (loaded) => {
    strips = loaded;
    requestAnimationFrame(tick);
  },
  () => (fault.textContent = "The videos cannot be loaded. Load this page again."),
);
