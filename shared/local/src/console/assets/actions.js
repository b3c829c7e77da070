// Sends the forms of actions without leaving the page, says what came of them, and copies command lines.

import { refresh } from "./parts.js";

const toasts = document.querySelector(".toasts");

function say(text, { isBad = false, link } = {}) {
    const toast = document.createElement("p");
    toast.className = isBad ? "toast bad" : "toast";
    toast.textContent = text;
    if (link) {
        const to = document.createElement("a");
        to.href = link;
        to.textContent = "See the event";
        toast.append(" ", to);
    }
    toasts.append(toast);
    setTimeout(() => toast.remove(), isBad || link ? 8000 : 3500);
    while (toasts.children.length > 4) toasts.firstChild.remove();
}

async function send(form) {
    const buttons = form.querySelectorAll("button");
    buttons.forEach(button => (button.disabled = true));
    try {
        const answer = await fetch(form.action, {
            method: "POST",
            headers: { accept: "application/json" },
            body: new URLSearchParams(new FormData(form)),
        });
        const body = await answer.json().catch(() => ({}));
        const state = body.name ? `${body.name} is ${body.running ? "up" : "down"}.` : "";
        say(body.message ?? body.detail ?? (state || answer.statusText), { isBad: !answer.ok, link: body.link });
    } catch {
        say("The stack does not answer. Is it still running?", { isBad: true });
    } finally {
        buttons.forEach(button => (button.disabled = false));
    }
    await refresh();
}

// Asks a person before an action that cannot be undone.
function confirmed(form) {
    const dialog = document.querySelector("dialog.confirm");
    dialog.querySelector("p").textContent = form.dataset.confirm;
    dialog.querySelector("button.danger").textContent = form.querySelector("button").textContent;
    dialog.returnValue = "";
    dialog.showModal();
    dialog.onclose = () => dialog.returnValue === "yes" && send(form);
}

export function installActions() {
    document.addEventListener("submit", event => {
        const form = event.target;
        if (!form.matches("form[data-action]")) return;
        event.preventDefault();
        if (form.dataset.confirm) confirmed(form);
        else send(form);
    });
    document.addEventListener("click", async event => {
        const open = document.querySelector(".clock[open]");
        if (open && !open.contains(event.target)) open.open = false;
        const button = event.target.closest("button[data-copy]");
        if (!button) return;
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 1200);
    });
    document.addEventListener("keydown", event => {
        if (event.key === "Escape") document.querySelectorAll(".clock[open]").forEach(menu => (menu.open = false));
    });
}
