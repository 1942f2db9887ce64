// Keeps the operations page current: asks for the same page again and exchanges the parts that changed.
// The server draws everything; without this script the page is complete and reloads itself.

const page = document.documentElement;
const notice = document.getElementById("connection");
const every_ms = Number(page.dataset.refreshS) * 1000;
const patience_ms = 10000;

function exchange(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other !== null && other.outerHTML !== part.outerHTML) {
      part.replaceWith(document.importNode(other, true));
    }
  }
}

function say(text) {
  if (notice.textContent !== text) {
    notice.textContent = text;
    notice.hidden = text === "";
  }
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(patience_ms) });
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
    say("");
  } catch (error) {
    say(`The node does not answer (${error.message}). What you see is old; asking again.`);
  }
}

async function turn() {
  if (!document.hidden) {
    await refresh();
  }
  setTimeout(turn, every_ms);
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
setTimeout(turn, every_ms);
