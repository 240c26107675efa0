// Debug mode adds this script to each page: it loads the page again after an edit.
(() => {
  const script = document.currentScript;
  const shown = script.dataset.state;
  const last = "docker-flask: last reload";
  let events;
  script.remove();
  // A page that nobody sees keeps no connection: browsers have six for a host.
  const listen = () => {
    events?.close();
    if (document.hidden) return;
    events = new EventSource(new URL("events", script.src));
    events.onmessage = ({ data }) => {
      // The second condition ends here if the browser shows an old page of its cache.
      if (data === shown || data === sessionStorage.getItem(last)) return;
      sessionStorage.setItem(last, data);
      events.close();
      location.reload();
    };
  };
  document.addEventListener("visibilitychange", listen);
  listen();
})();
