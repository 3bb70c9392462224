// node-xmpp-bosh as a BOSH server whose clients all go to one XMPP server: it would ask DNS where else.
//
//   node serve.js PORT XMPP_PORT
//
// Both are of 127.0.0.1. It serves until it is killed.
const { EventEmitter } = require('node:events');
const { start_bosh: startBosh } = require('node-xmpp-bosh/src/main.js');

const [port, xmppPort] = process.argv.slice(2).map(Number);

// What node-xmpp-bosh expects of its option lookup_service.
class OneServer extends EventEmitter {
    connect(socket) {
        socket.once('error', () => this.emit('error', 'remote-connection-failed'));
        socket.connect(xmppPort, '127.0.0.1', () => this.emit('connect'));
    }
}

// The listener offers no STARTTLS: that of node-xmpp-bosh calls what Node has no more (createCredentials).
startBosh({ host: '127.0.0.1', port, logging: 'INFO', lookup_service: OneServer });
