// HTTP/1.1 requests whose answer is a stream of bytes: an upgraded connection, or a body that is read as it comes. For
// what the API server asks kubelets and kubelets ask the container runtime. A connection serves one request.
// Asio and OpenSSL stay behind dialer.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "control/http/byte_stream.h"

namespace sluice::http {

inline constexpr std::size_t kMaxAnswerHeadBytes = 64U << 10U;
inline constexpr std::size_t kMaxDialedConnections = 10'000;  // kResourceExhausted beyond it
inline constexpr std::uint32_t kDialTimeoutMs = 30'000;       // to the end of the answer's head, by default

// How a TLS server is known, and who this client is. Made once, used by many dials.
class ClientTls {
public:
    virtual ~ClientTls() = default;
    // ca_pem: who may have signed the server's certificate. The pair may be empty: no client certificate.
    // kInvalidArgument: one of them cannot be read.
    static Result<std::shared_ptr<const ClientTls>> create(const std::string& ca_pem,
                                                           const std::string& certificate_pem,
                                                           const std::string& private_key_pem);
    // Whom the machine trusts; the pair as above.
    static Result<std::shared_ptr<const ClientTls>> create_with_system_roots(
        const std::string& certificate_pem = {}, const std::string& private_key_pem = {});
};

struct DialRequest {
    std::string address;  // an IP address; empty: that of `host`
    std::string host;     // a name to look up, or an address, if there is no address
    std::uint16_t port = 0;
    std::shared_ptr<const ClientTls> tls;  // null: plain TCP
    // The certificate must name the address or one of these.
    std::vector<std::string> server_names;
    // If not empty, the certificate must name this and nothing else counts; the server is told, too (SNI).
    std::string server_name;
    std::uint32_t timeout_ms = kDialTimeoutMs;
    // The time is that of the connection and of TLS alone: the answer's head may take any.
    bool waits_for_answer = false;
    bool skip_verify = false;  // take any certificate

    std::string method = "GET";  // empty: nothing is sent, and the answer is the bare connection
    std::string target = "/";  // escaped, with the query
    std::vector<std::pair<std::string, std::string>> headers;  // Host is added
    std::string body;  // sent behind the head, whose headers frame it
};

struct DialAnswer {
    int status = 0;
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    // 101: the connection. Else the body as it comes, only for reading; its end before the body's own end is
    // kDataLoss.
    std::shared_ptr<ByteStream> stream;

    [[nodiscard]] std::string_view header(std::string_view lower_case_name) const;
};

// Threads, each with many connections. Destruction ends all of them.
class Dialer {
public:
    using Callback = std::function<void(Result<DialAnswer>)>;
    // Ends a dial, whose callback then gets kCancelled, or the stream that it brought. Thread-safe; does nothing once
    // all is over.
    using End = std::function<void()>;

    virtual ~Dialer() = default;
    static std::unique_ptr<Dialer> create(int threads);

    // Thread-safe. The callback is called once, on one of the threads. kUnavailable: no connection, in words like
    // Go's ("dial tcp 10.0.0.1:10250: connect: connection refused"); kPermissionDenied: the certificate is not the
    // server's; kDeadlineExceeded; kDataLoss: not an HTTP answer.
    virtual End dial(DialRequest request, Callback callback) = 0;
    [[nodiscard]] virtual std::size_t connections() const = 0;
};

// Reads a stream to its end or until it brought max_bytes, and gives what came.
void read_all(std::shared_ptr<ByteStream> stream, std::size_t max_bytes,
              std::function<void(std::string)> callback);

}  // namespace sluice::http
