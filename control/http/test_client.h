// A blocking TLS client for tests: it sends the bytes it is told to and reads answers as they come, so that tests
// can be as slow, broken or impatient as they like. Used by the tests beside it and in control/apiserver.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "control/http/server.h"
#include "control/pki/certificate.h"

namespace sluice::http::testing {

// A CA, a server certificate for 127.0.0.1 and clients, made once per test program.
struct Credentials {
    pki::KeyPair ca;
    pki::KeyPair server;
    pki::KeyPair alice;     // CN alice, O dev and ops
    pki::KeyPair stranger;  // of another CA
};
const Credentials& credentials();
// Options for a server on a free port of 127.0.0.1.
ServerOptions server_options();

struct Reply {
    int status = 0;
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;                            // with chunks joined
    bool complete = false;                       // false: the connection ended first
};

class TlsClient {
public:
    struct Options {
        const pki::KeyPair* client = nullptr;
        int max_version = 0;  // as SSL_CTX_set_max_proto_version; 0: no limit
        std::string alpn;     // in wire form; empty: none offered
        int receive_buffer_bytes = 0;
    };
    // Null if the connection or the handshake fails.
    static std::unique_ptr<TlsClient> connect(std::uint16_t port, const Options& options);
    static std::unique_ptr<TlsClient> connect(std::uint16_t port) { return connect(port, {}); }
    // A TCP connection without TLS.
    static int connect_plain(std::uint16_t port);

    ~TlsClient();
    TlsClient(const TlsClient&) = delete;
    TlsClient& operator=(const TlsClient&) = delete;

    // False if the connection is gone.
    bool send(std::string_view bytes);
    // Some bytes; empty at the end of the connection or after ten seconds without any.
    std::string receive();
    // One whole answer; bytes that follow it are kept for the next. head: the answer has no body.
    Reply reply(bool head = false);
    // The next chunk of a chunked answer that began with read_head(); nullopt at its end or the connection's.
    Reply read_head();
    std::optional<std::string> chunk();
    // True if nothing comes any more.
    bool at_end();
    [[nodiscard]] std::string alpn() const;

private:
    struct State;
    explicit TlsClient(std::unique_ptr<State> state);
    bool fill();
    std::unique_ptr<State> state_;
};

// "GET TARGET HTTP/1.1" with a Host header and these further header lines ("Name: value\r\n").
std::string get(std::string_view target, std::string_view headers = "");

}  // namespace sluice::http::testing
