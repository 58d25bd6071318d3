// Arrow keys, space, Page Up and Down, Home, End; f: full screen; n: notes. The address says which slide is shown.
"use strict";
const slides = [...document.querySelectorAll("section.slide")];
const place = document.getElementById("place");
let at = 0;
function show(next, kept) {
  at = Math.max(0, Math.min(slides.length - 1, next));
  slides.forEach((slide, index) => slide.classList.toggle("shown", index === at));
  place.textContent = (at + 1) + " / " + slides.length;
  if (!kept) history.replaceState(null, "", "#" + (at + 1));
  window.scrollTo(0, 0);
}
const steps = {
  ArrowRight: () => at + 1, ArrowDown: () => at + 1, PageDown: () => at + 1, " ": () => at + 1,
  ArrowLeft: () => at - 1, ArrowUp: () => at - 1, PageUp: () => at - 1, Home: () => 0, End: () => slides.length - 1,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "f") {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
  } else if (event.key === "n") document.body.classList.toggle("noted");
  else if (event.key in steps && !(event.key === " " && event.target.tagName === "BUTTON")) {
    event.preventDefault();
    show(steps[event.key]());
  }
});
document.getElementById("back").addEventListener("click", () => show(at - 1));
document.getElementById("on").addEventListener("click", () => show(at + 1));
window.addEventListener("hashchange", () => show(parseInt(location.hash.slice(1), 10) - 1 || 0, true));
document.body.classList.add("one");
if (slides.length) show(parseInt(location.hash.slice(1), 10) - 1 || 0, true);
