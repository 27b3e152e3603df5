#include "bench/apiserver/client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

namespace sluice::bench {
namespace {

constexpr std::size_t kReadBytes = 16 << 10;  // a TLS record
constexpr std::size_t kMaxHeadBytes = 64 << 10;

Error tls_error(const char* doing) {
    char text[160] = "the peer closed the connection";
    if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
    return {Code::kUnavailable, fmt::format("{}: {}", doing, text)};
}

bool same_name(std::string_view a, std::string_view b) {
    return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
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

Client::Client() : tls_(std::make_unique<Tls>()) {}
Client::~Client() = default;

void Client::interrupt() const { shutdown(tls_->fd, SHUT_RDWR); }

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
    SSL_CTX_set_read_ahead(tls.context, 1);
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
    fmt::format_to(std::back_inserter(out_), "{} {} HTTP/1.1\r\nHost: {}\r\nAccept: {}\r\nUser-Agent: load/1\r\n",
                   request.method, request.path, host_, request.accept);
    if (!request.content_type.empty()) {
        fmt::format_to(std::back_inserter(out_), "Content-Type: {}\r\nContent-Length: {}\r\n", request.content_type,
                       request.body.size());
    }
    out_ += "\r\n";
    out_ += request.body;
    if (SSL_write(tls_->session, out_.data(), static_cast<int>(out_.size())) <= 0) {
        return tls_error("write");
    }
    return {};
}

Result<void> Client::fill() {
    if (at_ == buffer_.size()) {
        buffer_.clear();
        at_ = 0;
    }
    const std::size_t before = buffer_.size();
    buffer_.resize(before + kReadBytes);
    const int got = SSL_read(tls_->session, buffer_.data() + before, static_cast<int>(kReadBytes));
    buffer_.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got <= 0) return tls_error("read");
    received_ += static_cast<std::uint64_t>(got);
    return {};
}

Result<Client::Head> Client::read_head() {
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n", at_)) == std::string::npos) {
        if (buffer_.size() - at_ > kMaxHeadBytes) {
            return make_error(Code::kUnavailable, "an answer's headers are longer than {} bytes", kMaxHeadBytes);
        }
        SLUICE_TRY(fill());
    }
    std::string_view head(buffer_.data() + at_, end - at_);
    at_ = end + 4;
    Head out;
    constexpr std::size_t kStatusAt = sizeof("HTTP/1.1 ") - 1;
    if (head.size() < kStatusAt + 3) return make_error(Code::kUnavailable, "an answer has no status line");
    std::from_chars(head.data() + kStatusAt, head.data() + kStatusAt + 3, out.status);
    for (std::size_t line = head.find("\r\n"); line != std::string_view::npos;) {
        head.remove_prefix(line + 2);
        line = head.find("\r\n");
        const std::string_view one = head.substr(0, line);
        const std::size_t colon = one.find(": ");
        if (colon == std::string_view::npos) continue;
        const std::string_view value = one.substr(colon + 2);
        if (same_name(one.substr(0, colon), "content-length")) {
            std::from_chars(value.data(), value.data() + value.size(), out.length);
        } else if (same_name(one.substr(0, colon), "transfer-encoding")) {
            out.chunked = true;
        }
    }
    return out;
}

Result<void> Client::read_exactly(std::size_t count, const std::function<void(std::string_view)>& take) {
    while (count > 0) {
        if (at_ == buffer_.size()) SLUICE_TRY(fill());
        const std::size_t part = std::min(count, buffer_.size() - at_);
        if (take) take(std::string_view(buffer_.data() + at_, part));
        at_ += part;
        count -= part;
    }
    return {};
}

Result<std::size_t> Client::read_chunk_size() {
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n", at_)) == std::string::npos) SLUICE_TRY(fill());
    std::size_t size = 0;
    constexpr int kHex = 16;
    std::from_chars(buffer_.data() + at_, buffer_.data() + end, size, kHex);
    at_ = end + 2;
    return size;
}

Result<int> Client::exchange(const Request& request, std::string* begin) {
    SLUICE_TRY(send(request));
    SLUICE_TRY_ASSIGN(const Head head, read_head());
    const auto keep = [begin](std::string_view part) {
        if (begin != nullptr && begin->size() < kKeptBytes) begin->append(part.substr(0, kKeptBytes - begin->size()));
    };
    if (begin != nullptr) begin->clear();
    if (!head.chunked) {
        SLUICE_TRY(read_exactly(head.length, keep));
        return head.status;
    }
    while (true) {
        SLUICE_TRY_ASSIGN(const std::size_t size, read_chunk_size());
        SLUICE_TRY(read_exactly(size, keep));
        SLUICE_TRY(read_exactly(2, {}));
        if (size == 0) return head.status;
    }
}

Result<void> Client::stream(const Request& request, const std::function<bool(std::string_view)>& take) {
    SLUICE_TRY(send(request));
    SLUICE_TRY_ASSIGN(const Head head, read_head());
    if (head.status != 200 || !head.chunked) {
        return make_error(Code::kUnavailable, "{}: status {}", request.path, head.status);
    }
    bool more = true;
    while (more) {
        SLUICE_TRY_ASSIGN(const std::size_t size, read_chunk_size());
        SLUICE_TRY(read_exactly(size, [&](std::string_view part) { more = take(part) && more; }));
        SLUICE_TRY(read_exactly(2, {}));
        if (size == 0) break;
    }
    return {};
}

}  // namespace sluice::bench
