// JupyterLab loads this as a prebuilt extension. A notebook of the kit that was never run is run when it opens. The
// lists that `audit_kit.views.show.choices` draws set a parameter and run it again, or lead to another engagement.
(() => {
  const TAG = "parameters";
  const FOLDED = "audit-kit-folded";
  const isOurs = (panel) => Boolean(
    panel?.content?.model?.getMetadata?.("audit_kit") && !/(^|\/)earlier\//.test(panel.context.path));
  const isRun = (panel) => Array.from(panel.content.model.cells).some(
    (cell) => cell.type === "code" && (cell.executionCount || cell.outputs.length));

  async function settled(panel) {
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session?.kernel?.info;
  }

  async function run(app, panel) {
    app.shell.activateById(panel.id);
    await app.commands.execute("notebook:run-all-cells");
    panel.content.activeCellIndex = 0;
    await panel.content.scrollToItem(0, "start");
  }

  async function opened(app, panel, seen) {
    if (!panel?.context || !panel.sessionContext || seen.has(panel)) return;
    seen.add(panel);
    await settled(panel);
    panel.toggleClass(FOLDED, isOurs(panel));
    if (isOurs(panel) && !isRun(panel)) await run(app, panel);
  }

  function set(panel, name, value) {
    const line = new RegExp(`^(${name}\\s*:[^=\\n]*=\\s*)("[^"\\n]*"|'[^'\\n]*')`, "m");
    const cell = Array.from(panel.content.model.cells).find(
      (one) => one.type === "code" && (one.getMetadata("tags") || []).includes(TAG));
    if (!cell || !line.test(cell.sharedModel.source)) return false;
    cell.sharedModel.setSource(cell.sharedModel.source.replace(line, (_, start) => start + JSON.stringify(value)));
    return true;
  }

  function changed(app, event) {
    const list = event.target;
    const name = list?.dataset?.auditKit;
    const panel = app.shell.currentWidget;
    if (!name || !isOurs(panel)) return;
    if (name === "engagement" && list.value.startsWith("/lab/")) {
      const [base] = window.location.href.split("/lab");
      panel.context.save().then(() => window.location.assign(base + list.value));
    } else if (name !== "engagement" && set(panel, name, list.value)) {
      list.disabled = true;
      run(app, panel);
    }
  }

  const plugin = {
    id: "audit-kit-lab:plugin",
    autoStart: true,
    activate: (app) => {
      const seen = new WeakSet();
      const style = document.createElement("style");
      style.textContent = `.${FOLDED} .jp-InputPlaceholder .jp-PlaceholderText { display: none }`;
      document.head.append(style);
      const look = () => opened(app, app.shell.currentWidget, seen).catch(console.warn);
      app.shell.currentChanged?.connect(look);
      app.restored.then(look);
      document.addEventListener("change", (event) => changed(app, event));
    },
  };

  (window._JUPYTERLAB ??= {})["audit-kit-lab"] = {
    init: () => {},
    get: async () => () => ({default: plugin, __esModule: true}),
  };
})();
