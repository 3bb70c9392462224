import { Client, element } from './xmpp.js';

const HOST = 'localhost';
const FRIENDS = ['alice', 'bob', 'carol'];

const $ = (id) => document.getElementById(id);
const bare = (jid) => jid.split('/')[0];
const name = (jid) => jid.split('@')[0];

let client;
let self;
let partner;
const people = new Map(); // bare JID to {resources, messages, unread}

$('login').user.value = location.hash.slice(1) || 'alice';

$('login').onsubmit = (event) => {
  event.preventDefault();
  const { user, password, transport } = Object.fromEntries(new FormData($('login')));
  $('problem').textContent = '';
  client = new Client({ base: location.origin, host: HOST, user, password, transport });
  client.onOnline = (jid) => online(jid, transport);
  client.onStanza = received;
  client.onOffline = offline;
  client.connect();
};

$('logout').onclick = () => client.disconnect();

$('add').onsubmit = (event) => {
  event.preventDefault();
  const jid = `${$('add').user.value.trim()}@${HOST}`;
  meet(jid);
  show(jid);
  $('add').reset();
};

$('send').onsubmit = (event) => {
  event.preventDefault();
  const text = $('send').text.value.trim();
  if (!text) return;
  client.send(element('message', { to: partner, type: 'chat', id: crypto.randomUUID?.() ?? String(Math.random()) },
    element('body', {}, text)));
  keep(partner, { text, mine: true, at: new Date() });
  $('send').reset();
};

function online(jid, transport) {
  self = bare(jid);
  people.clear();
  $('self').textContent = name(self);
  $('transport').textContent = transport === 'bosh' ? 'BOSH' : 'WebSocket';
  document.title = `${name(self)} · Megaphone chat`;
  $('login').hidden = true;
  $('chat').hidden = false;
  client.send(element('presence'));
  for (const friend of FRIENDS) {
    if (friend !== name(self)) meet(`${friend}@${HOST}`);
  }
  show([...people.keys()][0]);
  $('send').text.focus();
}

function offline(reason) {
  $('problem').textContent = reason;
  $('login').hidden = false;
  $('chat').hidden = true;
}

// No rosters here: whoever one meets is told directly that one is online.
function meet(jid) {
  if (people.has(jid) || jid === self) return;
  people.set(jid, { resources: new Set(), messages: [], unread: 0 });
  client.send(element('presence', { to: jid }));
}

function received(stanza) {
  const from = stanza.getAttribute('from');
  if (!from || bare(from) === self) return;
  if (stanza.localName === 'presence') presence(from, stanza.getAttribute('type'));
  if (stanza.localName === 'message') message(from, stanza);
}

function presence(from, type) {
  if (type && type !== 'unavailable') return;
  meet(bare(from));
  const { resources } = people.get(bare(from));
  if (type === 'unavailable') {
    resources.delete(from);
  } else if (!resources.has(from)) {
    resources.add(from);
    client.send(element('presence', { to: from }));
  }
  draw();
}

function message(from, stanza) {
  const body = [...stanza.children].find((child) => child.localName === 'body');
  if (!body) return;
  const failed = stanza.getAttribute('type') === 'error';
  meet(bare(from));
  const text = failed ? `not delivered: ${body.textContent}` : body.textContent;
  // XEP-0203: a message that waited for us.
  const stamp = stanza.getElementsByTagNameNS('urn:xmpp:delay', 'delay')[0]?.getAttribute('stamp');
  keep(bare(from), { text, mine: false, at: stamp ? new Date(stamp) : new Date() });
}

function keep(jid, message) {
  const person = people.get(jid);
  person.messages.push(message);
  if (jid !== partner) person.unread += 1;
  draw();
}

function show(jid) {
  partner = jid;
  people.get(jid).unread = 0;
  draw();
}

function draw() {
  $('people').replaceChildren(...[...people].map(([jid, person]) => {
    const button = document.createElement('button');
    button.textContent = name(jid);
    button.className = `${jid === partner ? 'open' : ''} ${person.resources.size > 0 ? 'online' : ''}`;
    if (person.unread > 0) button.dataset.unread = person.unread;
    button.onclick = () => show(jid);
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
  const open = people.get(partner);
  $('partner').textContent = name(partner);
  $('presence').textContent = open.resources.size > 0 ? 'online' : 'offline';
  $('messages').replaceChildren(...open.messages.map(({ text, mine, at }) => {
    const item = document.createElement('li');
    const time = document.createElement('time');
    item.className = mine ? 'mine' : '';
    time.textContent = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    item.append(text, time);
    return item;
  }));
  $('messages').scrollTop = $('messages').scrollHeight;
}
