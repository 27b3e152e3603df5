#include "control/kubelet/probes/attempt_private.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <optional>

#include "api/base/fd.h"
#include "api/base/ip_address.h"
#include "control/kubelet/probes/http_answer_private.h"

namespace sluice::kubelet {
namespace {

struct SslFree {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

// For all probes: kubelet does not verify what containers present either, as it has nothing to
// verify it by.
SSL_CTX* tls_context() {
    static const std::unique_ptr<SSL_CTX, SslFree> context([] {
        SSL_CTX* made = SSL_CTX_new(TLS_client_method());
        SLUICE_ASSERT(made != nullptr);
        SSL_CTX_set_verify(made, SSL_VERIFY_NONE, nullptr);
        SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        return made;
    }());
    return context.get();
}

// As Go says it: "connection refused".
std::string errno_words(int error) {
    std::string text = std::strerror(error);
    if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
    return text;
}

bool is_same(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
        return std::tolower(x) == std::tolower(y);
    });
}

class SocketAttempt final : public Attempt {
public:
    SocketAttempt(ProbeTarget target, std::string address, std::string user_agent)
        : target_(std::move(target)), address_(std::move(address)),
          user_agent_(std::move(user_agent)) {
        connect();
    }

    [[nodiscard]] int fd() const override { return socket_.get(); }
    [[nodiscard]] short wanted() const override { return wanted_; }
    [[nodiscard]] bool finished() const override { return result_.has_value(); }
    [[nodiscard]] const AttemptResult& result() const override { return *result_; }

    void expire() override {
        if (finished()) return;
        if (target_.kind == ProbeTarget::Kind::kTcp) {
            fail(fmt::format("dial tcp {}: i/o timeout", target_.authority()));
        } else {
            fail_get(state_ == State::kBody
                         ? "context deadline exceeded (Client.Timeout or context cancellation while "
                           "reading body)"
                         : "context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
        }
    }

    void advance() override {
        while (!finished()) {
            bool goes_on = false;
            switch (state_) {
                case State::kConnecting: goes_on = connected(); break;
                case State::kHandshake: goes_on = handshake(); break;
                case State::kWriting: goes_on = write_request(); break;
                case State::kHead: goes_on = read_head(); break;
                case State::kBody: goes_on = read_body(); break;
            }
            if (!goes_on) return;
        }
    }

private:
    enum class State : std::uint8_t { kConnecting, kHandshake, kWriting, kHead, kBody };
    enum class Io : std::uint8_t { kDone, kWait, kEnd, kFailed };

    void fail(std::string message) {
        result_ = AttemptResult{AttemptResult::Status::kFailure, std::move(message), status_};
        close();
    }
    void fail_get(std::string_view why) { fail(fmt::format("Get \"{}\": {}", target_.url(), why)); }
    void fail_dial(int error) {
        const std::string why =
            fmt::format("dial tcp {}: connect: {}", target_.authority(), errno_words(error));
        if (target_.kind == ProbeTarget::Kind::kTcp) {
            fail(why);
        } else {
            fail_get(why);
        }
    }
    void succeed() {
        result_ = AttemptResult{AttemptResult::Status::kSuccess, "", status_};
        close();
    }
    void close() {
        // Said, but not waited for.
        if (ssl_ != nullptr && state_ > State::kHandshake) {
            ERR_clear_error();
            SSL_shutdown(ssl_.get());
        }
        ssl_.reset();
        socket_ = Fd();
    }

    void connect() {
        state_ = State::kConnecting;
        const auto address = IpAddress::parse(address_);
        if (!address) return fail_dial(EINVAL);
        sockaddr_storage storage{};
        socklen_t size = 0;
        if (address->is_v4()) {
            auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
            v4->sin_family = AF_INET;
            v4->sin_port = htons(target_.port);
            v4->sin_addr.s_addr = address->v4_be();
            size = sizeof *v4;
        } else {
            auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
            v6->sin6_family = AF_INET6;
            v6->sin6_port = htons(target_.port);
            std::memcpy(&v6->sin6_addr, address->bytes.data(), address->bytes.size());
            size = sizeof *v6;
        }
        socket_ = Fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!socket_) return fail_dial(errno);
        wanted_ = POLLOUT;
        if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&storage), size) != 0 &&
            errno != EINPROGRESS) {
            fail_dial(errno);
        }
    }

    bool connected() {
        pollfd ready{socket_.get(), POLLOUT, 0};
        if (::poll(&ready, 1, 0) == 0) return false;
        int error = 0;
        socklen_t size = sizeof error;
        if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        if (error != 0) {
            fail_dial(error);
            return false;
        }
        if (target_.kind == ProbeTarget::Kind::kTcp) {
            succeed();
            return false;
        }
        make_request();
        state_ = State::kWriting;
        if (target_.tls) {
            ssl_.reset(SSL_new(tls_context()));
            if (ssl_ == nullptr || SSL_set_fd(ssl_.get(), socket_.get()) != 1) {
                fail_get("tls: no session");
                return false;
            }
            // Names only (RFC 6066, section 3).
            if (!IpAddress::parse(target_.host)) {
                SSL_set_tlsext_host_name(ssl_.get(), target_.host.c_str());
            }
            SSL_set_connect_state(ssl_.get());
            state_ = State::kHandshake;
        }
        return true;
    }

    // What a TLS call that did not succeed waits for.
    Io tls_outcome(int outcome) {
        switch (SSL_get_error(ssl_.get(), outcome)) {
            case SSL_ERROR_WANT_READ: wanted_ = POLLIN; return Io::kWait;
            case SSL_ERROR_WANT_WRITE: wanted_ = POLLOUT; return Io::kWait;
            case SSL_ERROR_ZERO_RETURN: return Io::kEnd;
            default: break;
        }
        const unsigned long error = ERR_peek_last_error();
        const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
        // Many servers close without saying so.
        if (error == 0 || ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return Io::kEnd;
        io_error_ = fmt::format("tls: {}", reason == nullptr ? "the connection broke" : reason);
        return Io::kFailed;
    }

    bool handshake() {
        ERR_clear_error();
        const int outcome = SSL_do_handshake(ssl_.get());
        if (outcome == 1) {
            state_ = State::kWriting;
            return true;
        }
        switch (tls_outcome(outcome)) {
            case Io::kWait: return false;
            case Io::kEnd: fail_get("EOF"); return false;
            default: break;
        }
        const unsigned long error = ERR_peek_last_error();
        fail_get(ERR_GET_REASON(error) == SSL_R_WRONG_VERSION_NUMBER
                     ? "http: server gave HTTP response to HTTPS client"
                     : io_error_);
        return false;
    }

    void make_request() {
        std::string host = target_.authority();
        // The port that goes without saying is left out.
        const std::string usual = target_.tls ? ":443" : ":80";
        if (host.ends_with(usual)) host.resize(host.size() - usual.size());
        std::string headers;
        bool agent = false;
        bool accept = false;
        for (const auto& [name, value] : target_.headers) {
            if (is_same(name, "host")) {
                if (!value.empty()) host = value;
                continue;
            }
            // These are of the connection and not for a probe to choose.
            if (is_same(name, "connection") || is_same(name, "content-length") ||
                is_same(name, "transfer-encoding")) {
                continue;
            }
            agent |= is_same(name, "user-agent");
            accept |= is_same(name, "accept");
            // An empty one of these two means: none at all.
            if (value.empty() && (is_same(name, "user-agent") || is_same(name, "accept"))) continue;
            headers += fmt::format("{}: {}\r\n", name, value);
        }
        if (!agent) headers += fmt::format("User-Agent: {}\r\n", user_agent_);
        if (!accept) headers += "Accept: */*\r\n";
        buffer_ = fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\n\r\n",
                              target_.path, host, headers);
        sent_ = 0;
    }

    Io send_some() {
        const std::string_view rest = std::string_view(buffer_).substr(sent_);
        if (ssl_ != nullptr) {
            ERR_clear_error();
            const int wrote = SSL_write(ssl_.get(), rest.data(), static_cast<int>(rest.size()));
            if (wrote <= 0) return tls_outcome(wrote);
            sent_ += static_cast<std::size_t>(wrote);
            return Io::kDone;
        }
        const ssize_t wrote = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (wrote >= 0) {
            sent_ += static_cast<std::size_t>(wrote);
            return Io::kDone;
        }
        if (errno == EAGAIN || errno == EINTR) {
            wanted_ = POLLOUT;
            return Io::kWait;
        }
        io_error_ = fmt::format("write tcp {}: {}", target_.authority(), errno_words(errno));
        return Io::kFailed;
    }

    Io receive_some() {
        char chunk[8'192];
        if (ssl_ != nullptr) {
            ERR_clear_error();
            const int got = SSL_read(ssl_.get(), chunk, sizeof chunk);
            if (got <= 0) return tls_outcome(got);
            buffer_.append(chunk, static_cast<std::size_t>(got));
            return Io::kDone;
        }
        const ssize_t got = ::recv(socket_.get(), chunk, sizeof chunk, 0);
        if (got > 0) {
            buffer_.append(chunk, static_cast<std::size_t>(got));
            return Io::kDone;
        }
        if (got == 0) return Io::kEnd;
        if (errno == EAGAIN || errno == EINTR) {
            wanted_ = POLLIN;
            return Io::kWait;
        }
        io_error_ = fmt::format("read tcp {}: {}", target_.authority(),
                                errno == ECONNRESET ? "read: connection reset by peer"
                                                    : errno_words(errno));
        return Io::kFailed;
    }

    bool write_request() {
        while (sent_ < buffer_.size()) {
            switch (send_some()) {
                case Io::kDone: break;
                case Io::kWait: return false;
                case Io::kEnd: fail_get("EOF"); return false;
                case Io::kFailed: fail_get(io_error_); return false;
            }
        }
        buffer_.clear();
        state_ = State::kHead;
        return true;
    }

    bool read_head() {
        const std::size_t crlf = buffer_.find("\r\n\r\n");
        const std::size_t lf = buffer_.find("\n\n");
        const std::size_t end = std::min(crlf, lf);
        if (end == std::string::npos) {
            if (buffer_.size() > kMaxProbeHeadBytes) {
                fail_get(fmt::format("net/http: server response headers exceeded {} bytes; aborted",
                                     kMaxProbeHeadBytes));
                return false;
            }
            switch (receive_some()) {
                case Io::kDone: return true;
                case Io::kWait: return false;
                case Io::kEnd: fail_get(buffer_.empty() ? "EOF" : "unexpected EOF"); return false;
                case Io::kFailed: fail_get(io_error_); return false;
            }
            return false;
        }
        auto head = parse_answer_head(std::string_view(buffer_).substr(0, end));
        if (!head) {
            fail_get("net/http: HTTP/1.x transport connection broken: " + head.error().message);
            return false;
        }
        buffer_.erase(0, end + (end == crlf ? 4 : 2));
        if (head->is_interim() && head->status != 101) return true;
        head_ = std::move(*head);
        status_ = head_.status;
        if (redirects()) return !finished();
        state_ = State::kBody;
        return true;
    }

    // Follows a redirect that stays on the host; one that leads away is an answer like any other
    // below 400.
    bool redirects() {
        const bool kind = status_ == 301 || status_ == 302 || status_ == 303 || status_ == 307 ||
                          status_ == 308;
        if (!kind || head_.location.empty()) return false;
        auto url = resolve_redirect(target_.tls, target_.host, target_.port, target_.path,
                                    head_.location);
        if (!url) {
            fail_get(fmt::format("failed to parse Location header \"{}\": {}", head_.location,
                                 url.error().message));
            return true;
        }
        if (!is_same(url->host, target_.host)) return false;
        if (++redirects_ > kMaxProbeRedirects) {
            fail_get(fmt::format("stopped after {} redirects", kMaxProbeRedirects));
            return true;
        }
        close();
        target_.tls = url->tls;
        target_.port = url->port;
        target_.path = url->path;
        connect();
        return true;
    }

    [[nodiscard]] bool body_is_over() const {
        if (head_.has_no_body() || buffer_.size() >= kMaxProbeBodyBytes) return true;
        if (head_.content_length) return buffer_.size() >= *head_.content_length;
        // The end of the last chunk, when it has no trailers; those that have some are read to the
        // end.
        return head_.chunked && buffer_.ends_with("0\r\n\r\n");
    }

    bool read_body() {
        if (body_is_over()) {
            judge();
            return false;
        }
        switch (receive_some()) {
            case Io::kDone: return true;
            case Io::kWait: return false;
            case Io::kEnd:
                if (head_.content_length || head_.chunked) {
                    fail("unexpected EOF");
                } else {
                    judge();
                }
                return false;
            case Io::kFailed: fail(io_error_); return false;
        }
        return false;
    }

    void judge() {
        if (status_ >= 200 && status_ < 400) return succeed();
        fail(fmt::format("HTTP probe failed with statuscode: {}", status_));
    }

    ProbeTarget target_;
    const std::string address_;
    const std::string user_agent_;
    Fd socket_;
    std::unique_ptr<SSL, SslFree> ssl_;  // refers to socket_, so it goes first
    State state_ = State::kConnecting;
    short wanted_ = POLLOUT;
    std::string buffer_;  // the request, then the answer
    std::size_t sent_ = 0;
    AnswerHead head_;
    int status_ = 0;
    int redirects_ = 0;
    std::string io_error_;
    std::optional<AttemptResult> result_;
};

}  // namespace

std::unique_ptr<Attempt> start_attempt(const ProbeTarget& target, const std::string& address,
                                       const std::string& user_agent) {
    return std::make_unique<SocketAttempt>(target, address, user_agent);
}

Result<std::string> resolve_host(const std::string& host) {
    if (const auto address = IpAddress::parse(host)) return host;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
    if (error != 0) {
        return make_error(Code::kUnavailable, "dial tcp: lookup {}: {}", host,
                          error == EAI_NONAME ? "no such host" : ::gai_strerror(error));
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, &::freeaddrinfo);
    char text[NI_MAXHOST];
    if (::getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, nullptr, 0,
                      NI_NUMERICHOST) != 0) {
        return make_error(Code::kUnavailable, "dial tcp: lookup {}: no address", host);
    }
    return std::string(text);
}

}  // namespace sluice::kubelet
