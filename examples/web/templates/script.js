// The functions of a page beyond its forms. Every page works without this script.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const status = document.getElementById("copy-status");
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
      button.textContent = button.dataset.done;
      status.textContent = "The codes were copied to the clipboard.";
    } catch {
      status.textContent = "The browser did not allow copying: download or print the codes.";
    }
  });
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

// A double click sends a form once: of a code that is sent twice, the browser shows the second
// answer, which is that it is spent.
for (const form of document.querySelectorAll("form[method=post]")) {
  let sent = -Infinity;
  form.addEventListener("submit", (event) => {
    if (event.timeStamp - sent < 3000) event.preventDefault();
    else sent = event.timeStamp;
  });
}

// Ticks all boxes of a name without a round trip.
for (const [attribute, on] of [["tick", true], ["untick", false]]) {
  for (const button of document.querySelectorAll(`[data-${attribute}]`)) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      for (const box of button.form.elements.namedItem(button.dataset[attribute])) {
        box.checked = on;
      }
    });
  }
}

// Asks before unsaved changes are left behind. The form has autocomplete off, so that no browser
// fills in what was typed before and takes that for what is saved.
for (const form of document.querySelectorAll("form[data-guard]")) {
  const fields = () => new URLSearchParams(new FormData(form)).toString();
  const saved = form.hasAttribute("data-changed") ? null : fields();
  let leaving = false;
  form.addEventListener("submit", () => { leaving = true; });
  window.addEventListener("beforeunload", (event) => {
    if (!leaving && fields() !== saved) event.preventDefault();
  });
}

// Browsers keep pages for Back, `no-store` or not: loaded again, they show nothing after a
// logout.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
