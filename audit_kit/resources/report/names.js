// Names for what the libraries draw without one, so that a screen reader can say what it is.
(() => {
  const heading = (part) => part.closest("th")?.querySelector(".dt-column-title")?.textContent.trim()
    || part.closest("table")?.querySelectorAll("thead th .dt-column-title")[
      Number(part.closest("[data-dt-column]")?.dataset.dtColumn)]?.textContent.trim() || "";
  const name = () => {
    for (const part of document.querySelectorAll(".dtcc-search :is(input, select):not([aria-label])")) {
      part.setAttribute("aria-label", `${heading(part)} ${part.localName === "select" ? "=" : ""}`.trim() || "=");
    }
    for (const mark of document.querySelectorAll("[role=graphics-symbol]:not([aria-label]):not([aria-hidden])")) {
      mark.setAttribute("aria-hidden", "true");
    }
  };
  new MutationObserver(name).observe(document, {childList: true, subtree: true});
  document.addEventListener("DOMContentLoaded", name);
})();
