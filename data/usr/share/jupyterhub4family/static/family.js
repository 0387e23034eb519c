// Runs in the browser, on every page of the hub: the language switch, the cards of servers, the progress of a start.
"use strict";

// -- every page ---------------------------------------------------------------------------------

const language = document.documentElement.lang;
// Whoever reads English may still count hours to 24.
const region = navigator.languages.find((one) => one.startsWith(language)) || language;

function onClick(selector, action) {
  document.querySelectorAll(selector).forEach((element) => element.addEventListener("click", () => action(element)));
}

onClick("[data-language]", (button) => {
  const year = 365 * 24 * 3600;
  const secure = window.location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `jupyterhub4family-language=${button.dataset.language}; path=/; max-age=${year}; SameSite=Lax${secure}`;
  // Not reload(): after a wrong password that would send the form once more.
  window.location.replace(window.location.pathname + window.location.search);
});

document.querySelectorAll("time[datetime]").forEach((element) => {
  const moment = new Date(element.dateTime);
  const today = moment.toDateString() === new Date().toDateString();
  const style = today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  element.textContent = new Intl.DateTimeFormat(region, style).format(moment);
});

document.querySelectorAll("[data-reload-seconds]").forEach((element) => {
  setTimeout(() => window.location.reload(), 1000 * element.dataset.reloadSeconds);
});

// -- login --------------------------------------------------------------------------------------

onClick("#show_password", (button) => {
  const field = document.getElementById("password_input");
  const show = field.type === "password";
  field.type = show ? "text" : "password";
  button.setAttribute("aria-pressed", String(show));
  button.querySelector("i").className = show ? "fa fa-eye-slash" : "fa fa-eye";
});

// -- servers ------------------------------------------------------------------------------------

function serverAddress(serverName, member = window.jhdata.user) {
  const hub = window.jhdata;
  const words = [member, ...(serverName ? ["servers", serverName] : ["server"])];
  return `${hub.base_url}api/users/${words.map(encodeURIComponent).join("/")}?_xsrf=${encodeURIComponent(hub.xsrf_token)}`;
}

async function changeServer(button, method, body) {
  const card = button.closest("[data-server-name]");
  card.querySelectorAll("button").forEach((other) => { other.disabled = true; });
  try {
    const answer = await fetch(serverAddress(card.dataset.serverName, card.dataset.user), {
      method,
      headers: { "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    // 404: somebody else, or the server itself, was faster.
    if (!answer.ok && answer.status !== 404) throw new Error(`status ${answer.status}`);
    window.location.reload();
  } catch (error) {
    const note = document.getElementById("server-error");
    note.textContent = note.dataset.text;
    note.classList.remove("hidden");
    card.querySelectorAll("button").forEach((other) => { other.disabled = false; });
  }
}

onClick(".start-server", (button) => changeServer(button, "POST"));
onClick(".stop-server", (button) => changeServer(button, "DELETE"));
onClick(".delete-server", (button) => {
  if (window.confirm(button.dataset.question)) changeServer(button, "DELETE", { remove: true });
});

if (document.querySelector(".server-card[data-state=starting], .server-card[data-state=stopping]")) {
  // Not while somebody types the name of a new server.
  setInterval(() => document.querySelector(".more-servers[open]") || window.location.reload(), 3000);
}

// Whoever comes back to these pages after a while wants to know what is now.
if (document.querySelector("#home-main, #everybody-main")) {
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !document.querySelector(".more-servers[open]")) window.location.reload();
  });
}

const newServer = document.getElementById("new-server");
if (newServer) {
  const field = document.getElementById("new-server-name");
  newServer.addEventListener("submit", (event) => {
    event.preventDefault();
    const title = field.value.trim().replace(/\s+/g, " ");
    const name = serverName(title);
    const options = newServer.dataset.titles === "1" && title !== name ? `?display_name=${encodeURIComponent(title)}` : "";
    window.location.href = newServer.dataset.url + encodeURIComponent(name) + options;
  });
}

// JupyterHub wants a letter first, then small letters, digits and single hyphens: 30 at most.
function serverName(title) {
  const german = { ä: "ae", ö: "oe", ü: "ue", ß: "ss" };
  const plain = title.toLowerCase().replace(/[äöüß]/g, (letter) => german[letter]).normalize("NFKD");
  const slug = plain.replace(/[\u0300-\u036f]/g, "").replace(/[^a-z0-9]+/g, "-").replace(/^-+/, "");
  return (/^[a-z]/.test(slug) ? slug : `server-${slug}`).slice(0, 30).replace(/-+$/, "");
}

// -- a server on its way up ---------------------------------------------------------------------

const pending = document.getElementById("pending-main");
if (pending) watchStart(pending);

function watchStart(page) {
  const bar = document.getElementById("progress-bar");
  const log = document.getElementById("progress-log");
  const message = document.getElementById("progress-message");
  const events = new EventSource(page.dataset.progressUrl);
  let stopped = false;

  // The hub tells everything from the beginning, to each page and after each interruption.
  events.onopen = () => log.replaceChildren();
  events.onmessage = (raw) => {
    const event = JSON.parse(raw.data);
    if (event.ready || event.failed) {
      events.close();
      // The same address now leads to the server, or says why there is none.
      if (!stopped) window.location.reload();
      return;
    }
    // JupyterHub's own "Server requested" tells nobody anything, in one language only.
    if (!event.messages) return;
    bar.style.width = `${event.progress}%`;
    bar.setAttribute("aria-valuenow", event.progress);
    const sentence = event.messages[language] || event.message;
    message.textContent = sentence;
    const entry = document.createElement("li");
    entry.textContent = sentence;
    log.append(entry);
  };
  events.onerror = () => {
    // A stream that merely broke is opened again by the browser; one that was refused is not.
    if (events.readyState === EventSource.CLOSED && !stopped) setTimeout(() => window.location.reload(), 2000);
  };

  // JupyterHub's own button stops the default server, whichever one the page is about (6.1.1), and the stream of events
  // calls a start that was interrupted "ready": so this one does not listen any more.
  onClick("#stop-server-btn", async (button) => {
    stopped = true;
    events.close();
    button.disabled = true;
    message.textContent = page.dataset.stopping;
    const answer = fetch(serverAddress(page.dataset.serverName), { method: "DELETE", keepalive: true });
    // The answer comes when the server has ended; whoever does not want to wait for that sees "stopping" on that page.
    await Promise.race([answer.catch(() => null), new Promise((go) => setTimeout(go, 10000))]);
    window.location.href = `${window.jhdata.base_url}home`;
  });
}
