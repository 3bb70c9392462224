// A small XMPP client: WebSocket (RFC 7395) or BOSH (XEP-0124, XEP-0206), SASL PLAIN, resource binding.

const NS = {
  framing: 'urn:ietf:params:xml:ns:xmpp-framing',
  sasl: 'urn:ietf:params:xml:ns:xmpp-sasl',
  bind: 'urn:ietf:params:xml:ns:xmpp-bind',
  bosh: 'http://jabber.org/protocol/httpbind',
  xbosh: 'urn:xmpp:xbosh',
  stream: 'http://etherx.jabber.org/streams',
};

// element('message', {to: 'bob@localhost'}, element('body', {}, 'hello')); xmlns is an attribute.
export function element(name, attributes = {}, ...children) {
  const node = document.implementation.createDocument(attributes.xmlns ?? 'jabber:client', name).documentElement;
  for (const [key, value] of Object.entries(attributes)) {
    if (key !== 'xmlns') node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const parse = (text) => new DOMParser().parseFromString(text, 'text/xml').documentElement;
const serialize = (node) => new XMLSerializer().serializeToString(node);

// Both transports: open(), restart(), send(node) and close(), and the callbacks onElement, onClose.

class WebSocketTransport {
  constructor(base, host) {
    this.url = `${base.replace(/^http/, 'ws')}/ws`;
    this.host = host;
  }

  open() {
    this.socket = new WebSocket(this.url, 'xmpp');
    this.socket.onopen = () => this.restart();
    this.socket.onmessage = ({ data }) => this.received(parse(data));
    this.socket.onclose = () => this.onClose('the connection is closed');
  }

  restart() {
    this.send(element('open', { xmlns: NS.framing, to: this.host, version: '1.0' }));
  }

  received(node) {
    if (node.namespaceURI !== NS.framing) this.onElement(node);
    else if (node.localName === 'close') this.socket.close();
  }

  send(node) {
    this.socket.send(serialize(node));
  }

  close() {
    this.send(element('close', { xmlns: NS.framing }));
  }
}

// One request waits at the server; a second one carries what has to be sent meanwhile.
class BoshTransport {
  constructor(base, host) {
    this.url = `${base}/bosh`;
    this.host = host;
    this.rid = crypto.getRandomValues(new Uint32Array(1))[0];
    this.queue = [];
    this.waiting = 0;
    this.over = false;
  }

  open() {
    this.post({ to: this.host, wait: 50, hold: 1, ver: '1.6', 'xmpp:version': '1.0' });
  }

  restart() {
    this.post({ to: this.host, 'xmpp:restart': 'true' });
  }

  send(node) {
    this.queue.push(node);
    queueMicrotask(() => this.flush());
  }

  close() {
    this.post({ type: 'terminate' }, this.queue.splice(0));
  }

  flush() {
    const someoneMustWait = this.waiting === 0;
    if (this.over || !this.sid || this.waiting > 1) return;
    if (this.queue.length > 0 || someoneMustWait) this.post({}, this.queue.splice(0));
  }

  async post(attributes, nodes = []) {
    const body = element('body', { xmlns: NS.bosh, rid: this.rid++, ...(this.sid && { sid: this.sid }) }, ...nodes);
    for (const [key, value] of Object.entries(attributes)) {
      body.setAttributeNS(key.startsWith('xmpp:') ? NS.xbosh : null, key, value);
    }
    this.waiting += 1;
    try {
      const headers = { 'Content-Type': 'text/xml; charset=utf-8' };
      const answer = await fetch(this.url, { method: 'POST', headers, body: serialize(body) });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      this.received(parse(await answer.text()));
    } catch (error) {
      this.end(error.message);
    } finally {
      this.waiting -= 1;
      this.flush();
    }
  }

  received(body) {
    this.sid ??= body.getAttribute('sid');
    for (const node of [...body.children]) this.onElement(node);
    if (body.getAttribute('type') === 'terminate') {
      this.end(body.getAttribute('condition') ?? 'the session has ended');
    }
  }

  end(reason) {
    if (this.over) return;
    this.over = true;
    this.onClose(reason);
  }
}

const TRANSPORTS = { websocket: WebSocketTransport, bosh: BoshTransport };

// Callbacks: onOnline(jid), onStanza(element), onOffline(reason).
export class Client {
  constructor({ base, host, user, password, transport }) {
    Object.assign(this, { user, password });
    this.transport = new TRANSPORTS[transport](base, host);
    this.transport.onElement = (node) => this.received(node);
    this.transport.onClose = (reason) => this.onOffline(this.failure ?? reason);
  }

  connect() {
    this.transport.open();
  }

  send(node) {
    this.transport.send(node);
  }

  disconnect() {
    this.failure = '';
    this.transport.close();
  }

  received(node) {
    if (node.localName === 'features' && node.namespaceURI === NS.stream) this.negotiate(node);
    else if (node.namespaceURI === NS.sasl) this.authenticated(node);
    else if (node.getAttribute('id') === 'bind') this.bound(node);
    else if (node.localName === 'error' && node.namespaceURI === NS.stream) this.failure = node.firstElementChild.localName;
    else this.onStanza(node);
  }

  negotiate(features) {
    if (features.getElementsByTagNameNS(NS.bind, 'bind').length > 0) {
      this.send(element('iq', { type: 'set', id: 'bind' }, element('bind', { xmlns: NS.bind })));
    } else {
      const bytes = new TextEncoder().encode(`\0${this.user}\0${this.password}`);
      const response = btoa(String.fromCharCode(...bytes));
      this.send(element('auth', { xmlns: NS.sasl, mechanism: 'PLAIN' }, response));
    }
  }

  authenticated(node) {
    if (node.localName === 'success') {
      this.transport.restart();
    } else {
      this.failure = 'wrong user or password';
      this.transport.close();
    }
  }

  bound(node) {
    const jid = node.getElementsByTagNameNS(NS.bind, 'jid')[0];
    if (jid) this.onOnline(jid.textContent);
  }
}
