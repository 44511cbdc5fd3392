// Cloacina's pages work without this file. With it they stay up to date, questions open over the page, and
// there are keys. It runs nothing that comes from a page's data.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Questions: the page of the question is fetched, and its dialog shown over this one.
  const ask = async (href) => {
    let answer;
    try {
      const response = await fetch(href, { headers: { accept: "text/html" } });
      answer = $("dialog#ask", parsed(await response.text()));
    } catch { /* The link leads there as well. */ }
    if (!answer) {
      location.href = href;
      return;
    }
    $("dialog#ask")?.remove();
    const dialog = document.importNode(answer, true);
    dialog.removeAttribute("open");
    const before = document.activeElement;
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus();
    });
    document.body.append(dialog);
    dialog.showModal();
    const first = $("input:not([type=hidden]), select, textarea", dialog) ?? $("[data-close]", dialog);
    first?.focus();
  };
  const parsed = (text) => new DOMParser().parseFromString(text, "text/html");

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest("a");
    if (!link) return;
    if (link.hasAttribute("data-ask")) {
      event.preventDefault();
      ask(link.href);
    } else if (link.hasAttribute("data-close") && $("dialog#ask:modal")) {
      event.preventDefault();
      $("dialog#ask").close();
    } else if (events && link.hasAttribute("data-hold")) {
      event.preventDefault();
      hold(!held);
    } else if (link.hasAttribute("data-back") && history.length > 1) {
      event.preventDefault();
      history.back();
    }
  });

  // A bulk question takes the filter and the ticked ones along.
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-bulk]");
    if (!form || !event.submitter) return;
    event.preventDefault();
    const fields = new URLSearchParams(new FormData(form, event.submitter));
    ask(`?${fields}`);
  });

  // What was said once is not said again by a reload.
  if ($("#said")) {
    const url = new URL(location.href);
    url.searchParams.delete("said");
    history.replaceState(null, "", url);
  }

  // Live: one stream for the page. What it tells of is fetched anew, part by part.
  const events = document.body.dataset.events;
  let source, held = false, changes = 0, stale, wanted = false, fetching = false, last = 0;
  const time = () => new Date().toISOString().slice(11, 19);
  const say = (text, action) => {
    const line = $("#live");
    if (!line || line.dataset.said === text) return;
    line.dataset.said = text;
    line.textContent = text;
    if (action) {
      const link = document.createElement("a");
      link.href = "";
      link.dataset.hold = "";
      link.textContent = action;
      line.append(" · ", link);
    }
  };
  const state = () => {
    if (held) say(`Held at ${held}${changes ? `, ${changes} changes` : ""}`, "Go on");
    else if (stale) say(`Not live since ${stale}, tries again`, "Hold");
    else say(last ? `Live, changed ${last}` : "Live", "Hold");
  };
  const hold = (to) => {
    held = to ? time() : false;
    changes = 0;
    if (held) source?.close();
    else {
      listen();
      refresh();
    }
    state();
  };

  // Nothing moves under a pointer, an open dialog, a ticked box or a selection.
  const isBusy = (element) =>
    $("dialog[open]") || element.matches(":hover:has(a:hover, button:hover, summary:hover)") ||
    element.contains(document.activeElement) && document.activeElement !== document.body ||
    !getSelection().isCollapsed && getSelection().containsNode(element, true);

  const plain = (element) => element.outerHTML.replace(/ (class="new"|open="")/g, "");
  const replace = (old, fresh) => {
    if (!fresh || plain(old) === plain(fresh)) return false;
    if (isBusy(old)) {
      wanted = true;
      return false;
    }
    const opened = new Set($$("details[open] > summary", old).map((summary) => summary.textContent));
    const put = document.importNode(fresh, true);
    for (const summary of $$("details > summary", put)) summary.parentElement.open = opened.has(summary.textContent);
    old.replaceWith(put);
    if (put.tagName === "TR") put.classList.add("new");
    return true;
  };
  const refresh = async () => {
    if (fetching || held) {
      wanted = true;
      return;
    }
    fetching = true;
    wanted = false;
    try {
      const response = await fetch(location.href, { headers: { accept: "text/html" } });
      if (response.redirected || !response.ok) throw new Error(response.status);
      const fresh = parsed(await response.text());
      const line = $("#live")?.dataset.said;
      for (const old of $$("[data-live]")) {
        if (old.matches("tbody, table, .list")) rows(old, fresh);
        else replace(old, fresh.getElementById(old.id));
      }
      for (const part of $$("[data-live]", fresh)) {
        // A part that was not there before comes behind the one before it.
        const before = part.previousElementSibling?.id && document.getElementById(part.previousElementSibling.id);
        if (!document.getElementById(part.id) && before) before.after(document.importNode(part, true));
      }
      if (line !== undefined) delete $("#live")?.dataset.said;
      stale = undefined;
      last = time();
    } catch {
      stale ??= time();
    }
    fetching = false;
    state();
  };
  // The rows of a list change in their places; new ones are counted above it.
  const rows = (list, fresh) => {
    const shown = $$("tr[id]", list);
    for (const row of shown) {
      const to = fresh.getElementById(row.id);
      const ticked = $("input:checked", row);
      if (to && !ticked) replace(row, to);
    }
    const newer = $("#newer");
    if (!newer) return;
    const first = $(`tr[id="${CSS.escape(shown[0]?.id ?? "")}"]`, fresh);
    const all = $$("tr[id]", fresh);
    const count = first ? all.indexOf(first) : all.length;
    newer.hidden = count < 1;
    if (count) $("a", newer).textContent = `${count}${count === all.length ? "+" : ""} newer`;
  };

  // A change of what is shown is fetched at once; the server shares looks that are younger than 200 ms, so it
  // is asked a little later. What is newer is looked at every five seconds, by all pages at one moment.
  let timer, silence;
  const soon = (pause = 250) => {
    changes += 1;
    if (held) return state();
    if (timer && timer.pause <= pause) return;
    clearTimeout(timer?.id);
    timer = { pause, id: setTimeout(() => {
      timer = undefined;
      refresh();
    }, pause) };
  };
  const later = () => soon(Math.max(250, 5000 - Date.now() % 5000));
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      stale ??= time();
      state();
    }, 15000);
    if (stale) {
      stale = undefined;
      refresh();
    }
    state();
  };
  const listen = () => {
    source?.close();
    source = new EventSource(events);
    source.addEventListener("open", heard);
    // What the page shows was read before anybody watched.
    source.addEventListener("watching", () => { heard(); held || soon(); });
    source.addEventListener("changed", () => { heard(); soon(); });
    source.addEventListener("asked", () => { heard(); soon(); });
    source.addEventListener("newer", () => {
      heard();
      const newer = $("#newer");
      if (newer?.hidden) {
        newer.hidden = false;
        $("a", newer).textContent = "Newer ones";
      }
      later();
    });
    source.addEventListener("alive", heard);
    source.addEventListener("unknown", () => { stale ??= time(); state(); });
    source.addEventListener("error", () => {
      stale ??= time();
      state();
      if (source.readyState === EventSource.CLOSED && !held) setTimeout(() => held || listen(), 5000);
    });
  };
  if (events) {
    if (!document.hidden) listen();
    // What could not be shown because somebody was at it is shown when they are not.
    setInterval(() => wanted && !held && refresh(), 2000);
    // What no stream tells of, while it is under way.
    if (document.body.dataset.ticks !== undefined) setInterval(() => document.hidden || held || refresh(), 1500);
    addEventListener("pagehide", () => source?.close());
    addEventListener("pageshow", (event) => event.persisted && !held && listen());
    // A browser has six connections to a server, for all tabs together: one that nobody sees needs none.
    document.addEventListener("visibilitychange", () => {
      if (held) return;
      if (document.hidden) {
        source?.close();
        clearTimeout(silence);
      } else {
        listen();
        refresh();
      }
    });
  }

  // How many are ticked.
  const ticked = () => {
    const count = $("[data-ticked]");
    if (count) count.textContent = $$("input[name=id]:checked").length;
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[name=id]")) {
      const on = $("input[name=on][value=ticked]");
      if (on) on.checked = true;
      ticked();
    }
  });
  ticked();

  // Keys. They do nothing while somebody writes, and can be switched off.
  const off = () => localStorage.getItem("cloacina-keys") === "off";
  let row = -1, goes = false;
  const move = (by) => {
    const all = $$("tbody tr:has(a.id), tbody tr:has(a)").filter((tr) => tr.offsetParent !== null);
    if (!all.length) return;
    row = Math.max(0, Math.min(all.length - 1, row + by));
    $("a.id, a", all[row]).focus();
  };
  const help = () => {
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-labelledby", "keys-h");
    const lines = [["/", "filter"], ["j k", "next and previous row"], ["x", "tick the row"], ["o", "open the row"],
      [".", "the first action"], ["g o, g e, g i, g s, g w, g t", "overview, executions, inbox, schedules, workflows, tenants"],
      ["h", "hold or go on"], ["?", "this list"]];
    const heading = document.createElement("h2");
    heading.id = "keys-h";
    heading.textContent = "Keys";
    const list = document.createElement("dl");
    list.className = "facts";
    for (const [key, what] of lines) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = key;
      dd.textContent = what;
      list.append(dt, dd);
    }
    const button = document.createElement("button");
    button.className = "btn";
    button.textContent = "Switch the keys off";
    button.addEventListener("click", () => {
      localStorage.setItem("cloacina-keys", "off");
      dialog.close();
    });
    dialog.append(heading, list, button);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };
  const pages = { o: "Overview", e: "Executions", i: "Inbox", s: "Schedules", w: "Workflows", t: "Tenants", r: "Runners", a: "Audit", k: "Keys" };
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    if (at.matches("input, select, textarea") && at.type !== "checkbox" || at.isContentEditable) return;
    if (event.key === "?") {
      localStorage.removeItem("cloacina-keys");
      return help();
    }
    if (off()) return;
    if (goes) {
      goes = false;
      const link = $$(".side nav > a").find((link) => link.textContent === pages[event.key]);
      return link?.click();
    }
    const current = document.activeElement?.closest("tr");
    switch (event.key) {
      case "/": $("#filter")?.focus(); break;
      case "j": move(1); break;
      case "k": move(-1); break;
      case "x": if (current) $("input[type=checkbox]", current)?.click(); break;
      case "o": if (current) $("a.id, a", current)?.click(); break;
      case ".": $("main .head .btns a, main .do a")?.focus(); break;
      case "g": goes = true; setTimeout(() => { goes = false; }, 1500); return;
      case "h": if (events) hold(!held); break;
      default: return;
    }
    event.preventDefault();
  });
})();
