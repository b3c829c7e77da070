// Sends the forms of actions without leaving the page, says what came of them, and copies command lines.

import { refresh } from "./parts.js";

const toasts = document.querySelector(".toasts");

function say(text, isBad) {
    const toast = document.createElement("p");
    toast.className = isBad ? "toast bad" : "toast";
    toast.textContent = text;
    toasts.append(toast);
    setTimeout(() => toast.remove(), isBad ? 8000 : 3500);
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
        say(body.message ?? body.detail ?? (state || answer.statusText), !answer.ok);
    } catch {
        say("The stack does not answer. Is it still running?", true);
    } finally {
        buttons.forEach(button => (button.disabled = false));
    }
    await refresh();
}

export function installActions() {
    document.addEventListener("submit", event => {
        if (!event.target.matches("form[data-action]")) return;
        event.preventDefault();
        send(event.target);
    });
    document.addEventListener("click", async event => {
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
