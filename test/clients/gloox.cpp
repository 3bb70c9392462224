// gloox: a user who answers a friend.
//
//   gloox JID PASSWORD FRIEND PORT CA
//
// It logs in at localhost:PORT with TLS, whose certificate that authority has to have signed. The friend is told when
// they are seen to be online, each of their messages is answered, and the message "log out" makes it log out and end.
#include <cstdio>
#include <cstdlib>
#include <gloox/client.h>
#include <gloox/connectionlistener.h>
#include <gloox/loghandler.h>
#include <gloox/message.h>
#include <gloox/messagehandler.h>
#include <gloox/presence.h>
#include <gloox/presencehandler.h>
#include <gloox/tlsdefault.h>
#include <unistd.h>

using namespace gloox;

static const unsigned TIMEOUT_S = 60;

class Answering : public ConnectionListener, public PresenceHandler, public MessageHandler, public LogHandler {
public:
    bool failed = true;

    Answering(Client &client, const char *contact) : client(client), contact(contact) {
        client.registerConnectionListener(this);
        client.registerPresenceHandler(this);
        client.registerMessageHandler(this);
        client.logInstance().registerLogHandler(LogLevelDebug, LogAreaXmlIncoming | LogAreaXmlOutgoing, this);
    }

    void onConnect() override {}

    void onDisconnect(ConnectionError error) override {
        failed = error != ConnUserDisconnected;
        if (failed) std::fprintf(stderr, "disconnected: gloox's ConnectionError %d\n", error);
    }

    bool onTLSConnect(const CertInfo &info) override {
        if (info.status != CertOk) std::fprintf(stderr, "the certificate: gloox's CertStatus %d\n", info.status);
        return info.status == CertOk;
    }

    void handlePresence(const Presence &presence) override {
        bool online = presence.presence() == Presence::Available || presence.presence() == Presence::Chat;
        if (greeted || !online || presence.from().bare() != contact.bare()) return;
        greeted = true;
        write("you are online");
    }

    void handleMessage(const Message &message, MessageSession *) override {
        if (message.from().bare() != contact.bare() || message.body().empty()) return;
        if (message.body() == "log out") client.disconnect();
        else write("you said: " + message.body());
    }

    void handleLog(LogLevel, LogArea area, const std::string &text) override {
        std::fprintf(stderr, "%s %s\n", area == LogAreaXmlIncoming ? "<" : ">", text.c_str());
    }

private:
    Client &client;
    JID contact;
    bool greeted = false;

    void write(const std::string &text) { client.send(Message(Message::Chat, contact, text)); }
};

int main(int count, char **arguments) {
    if (count != 6) {
        std::fputs("usage: gloox JID PASSWORD FRIEND PORT CA\n", stderr);
        return 2;
    }
    alarm(TIMEOUT_S);
    Client client(JID(arguments[1]), arguments[2], std::atoi(arguments[4]));
    client.setServer("localhost");
    client.setTls(TLSRequired);
    // Its SCRAM binds to tls-unique, which TLS 1.3 has not, or says that the server can bind nothing: ejabberd refuses
    // both, on its own listener too.
    client.setSASLMechanisms(SaslMechPlain);
    // gloox 1.0.24 heeds no other way to name an authority, and the one that the client offers neither.
    TLSDefault *tls = new TLSDefault(&client, "localhost");
    tls->init("", "", {});
    tls->setCACerts({arguments[5]});
    client.setEncryptionImpl(tls);
    Answering answering(client, arguments[3]);
    // Until it is disconnected.
    client.connect();
    return answering.failed;
}
