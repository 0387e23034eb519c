// Runs in the browser, on the trust page: opens the section of this device, and looks whether it trusts the portal.
"use strict";

// iPads call themselves Macs, but no Mac is touched with several fingers.
if (/Macintosh/.test(navigator.userAgent) && navigator.maxTouchPoints > 1) {
  for (const section of document.querySelectorAll(".trust-devices details")) {
    section.open = section.id === "device-ios";
  }
}

const host = document.getElementById("trust-main").dataset.host;
const box = document.getElementById("trust-check");
const PAUSE = 3000; // milliseconds

function show(state) {
  if (box.dataset.state === state) return;
  box.dataset.state = state;
  for (const text of box.querySelectorAll("[data-text]")) text.hidden = text.dataset.text !== state;
  document.getElementById("trust-go").hidden = state !== "good";
}

async function pagesWork() {
  try {
    const answer = await fetch(`https://${host}/hub/trust/check`, { cache: "no-store", credentials: "omit" });
    return (await answer.json()).trusted === true;
  } catch (error) {
    return false;
  }
}

function socketsWork() {
  return new Promise((tell) => {
    const socket = new WebSocket(`wss://${host}/hub/trust/socket`);
    socket.onmessage = (event) => tell(event.data === "trusted");
    socket.onclose = socket.onerror = () => tell(false);
    setTimeout(() => tell(false), 2 * PAUSE);
  });
}

async function look() {
  const [pages, sockets] = await Promise.all([pagesWork(), socketsWork()]);
  show(pages && sockets ? "good" : pages ? "half" : "bad");
  if (!(pages && sockets)) setTimeout(look, PAUSE);
}

look();
