#include "bench/apiserver/client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace sluice::bench {
namespace {

constexpr std::size_t kRecordBytes = 16 << 10;
constexpr std::size_t kAheadBytes = 64 << 10;

Error tls_error(const char* doing) {
    char text[160] = "the peer closed the connection";
    if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
    return {Code::kUnavailable, fmt::format("{}: {}", doing, text)};
}

}  // namespace

struct Client::Tls {
    SSL_CTX* context = nullptr;
    SSL* session = nullptr;
    int fd = -1;
    ~Tls() {
        if (session != nullptr) SSL_free(session);
        if (context != nullptr) SSL_CTX_free(context);
        if (fd >= 0) close(fd);
    }
};

Client::Client() : tls_(std::make_unique<Tls>()), buffer_(kRecordBytes) {}
Client::~Client() = default;

int Client::fd() const { return tls_->fd; }

void Client::stop_waiting() { fcntl(tls_->fd, F_SETFL, fcntl(tls_->fd, F_GETFL) | O_NONBLOCK); }

Result<std::unique_ptr<Client>> Client::connect(const Target& target) {
    std::unique_ptr<Client> out(new Client);
    Tls& tls = *out->tls_;
    tls.context = SSL_CTX_new(TLS_client_method());
    if (tls.context == nullptr) return tls_error("TLS");
    if (SSL_CTX_load_verify_locations(tls.context, target.ca_file.c_str(), nullptr) != 1 ||
        SSL_CTX_use_certificate_chain_file(tls.context, target.cert_file.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls.context, target.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
        return tls_error("certificates");
    }
    SSL_CTX_set_verify(tls.context, SSL_VERIFY_PEER, nullptr);
    // Several records, and a record's head with its body, in one call.
    SSL_CTX_set_read_ahead(tls.context, 1);
    SSL_CTX_set_default_read_buffer_len(tls.context, kAheadBytes);
    SSL_CTX_set_mode(tls.context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    tls.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(target.port);
    if (inet_pton(AF_INET, target.host.c_str(), &address.sin_addr) != 1) {
        return make_error(Code::kInvalidArgument, "host \"{}\" is not an IPv4 address", target.host);
    }
    if (tls.fd < 0 || ::connect(tls.fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return make_error(Code::kUnavailable, "connect to {}:{}: {}", target.host, target.port,
                          std::strerror(errno));
    }
    const int on = 1;
    setsockopt(tls.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    tls.session = SSL_new(tls.context);
    if (tls.session == nullptr || SSL_set_fd(tls.session, tls.fd) != 1 || SSL_connect(tls.session) != 1) {
        return tls_error("TLS handshake");
    }
    out->host_ = fmt::format("{}:{}", target.host, target.port);
    return out;
}

Result<void> Client::send(const Request& request) {
    out_.clear();
    out_.append(request.method).append(" ").append(request.path).append(" HTTP/1.1\r\nHost: ").append(host_);
    out_.append("\r\nAccept: ").append(request.accept).append("\r\nUser-Agent: load/1\r\n");
    if (!request.content_type.empty()) {
        out_.append("Content-Type: ").append(request.content_type).append("\r\nContent-Length: ");
        out_.append(fmt::format_int(request.body.size()).c_str()).append("\r\n");
    }
    out_.append("\r\n").append(request.body);
    answer_.begin();
    std::string_view left = out_;
    while (!left.empty()) {
        ERR_clear_error();
        const int sent = SSL_write(tls_->session, left.data(), static_cast<int>(left.size()));
        if (sent > 0) {
            left.remove_prefix(static_cast<std::size_t>(sent));
        } else if (SSL_get_error(tls_->session, sent) == SSL_ERROR_WANT_WRITE) {
            pollfd ready{tls_->fd, POLLOUT, 0};
            poll(&ready, 1, -1);
        } else {
            return tls_error("write");
        }
    }
    return {};
}

Result<std::string_view> Client::read() {
    ERR_clear_error();
    const int got = SSL_read(tls_->session, buffer_.data(), static_cast<int>(buffer_.size()));
    if (got > 0) {
        received_ += static_cast<std::uint64_t>(got);
        return std::string_view(buffer_.data(), static_cast<std::size_t>(got));
    }
    if (SSL_get_error(tls_->session, got) == SSL_ERROR_WANT_READ) return std::string_view();
    return tls_error("read");
}

Result<bool> Client::receive(const Answer::Take& take) {
    do {
        SLUICE_TRY_ASSIGN(const std::string_view bytes, read());
        if (bytes.empty()) break;
        SLUICE_TRY_ASSIGN(const std::size_t used, answer_.feed(bytes, take));
        if (used < bytes.size()) {
            return make_error(Code::kUnavailable, "{} bytes follow an answer", bytes.size() - used);
        }
    } while (!answer_.over() && SSL_has_pending(tls_->session) == 1);
    return answer_.over();
}

Result<int> Client::exchange(const Request& request, std::string* begin) {
    if (begin != nullptr) begin->clear();
    const auto keep = [begin](std::string_view part) {
        if (begin != nullptr && begin->size() < kKeptBytes) begin->append(part.substr(0, kKeptBytes - begin->size()));
    };
    SLUICE_TRY(send(request));
    while (true) {
        SLUICE_TRY_ASSIGN(const bool over, receive(keep));
        if (over) return status();
    }
}

}  // namespace sluice::bench
