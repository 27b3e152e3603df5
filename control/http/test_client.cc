#include "control/http/test_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <ctime>

namespace sluice::http::testing {

struct TlsClient::State {
    int fd = -1;
    SSL_CTX* context = nullptr;
    SSL* ssl = nullptr;
    std::string buffer;
    bool last_chunk_came = false;  // of the answer that was read last
    ~State() {
        SSL_free(ssl);
        SSL_CTX_free(context);
        if (fd >= 0) ::close(fd);
    }
};

namespace {

constexpr std::int64_t kHourS = 3'600;
constexpr int kPatienceS = 10;

int connect_socket(std::uint16_t port, int receive_buffer_bytes) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval patience{kPatienceS, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (receive_buffer_bytes > 0) {
        ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                     sizeof(receive_buffer_bytes));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        ::close(fd);
        return -1;
    }
    return fd;
}

void use_pair(SSL_CTX* context, const pki::KeyPair& pair) {
    BIO* bio = BIO_new_mem_buf(pair.certificate_pem.data(),
                               static_cast<int>(pair.certificate_pem.size()));
    X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(pair.private_key_pem.data(),
                          static_cast<int>(pair.private_key_pem.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_use_PrivateKey(context, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

pki::KeyPair make_ca(const std::string& name, std::int64_t now) {
    pki::KeyPair ca;
    ca.private_key_pem = *pki::make_private_key();
    ca.certificate_pem = *pki::make_ca_certificate(ca.private_key_pem, name, now, kHourS);
    return ca;
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return text;
}

}  // namespace

const Credentials& credentials() {
    static const Credentials made = [] {
        std::signal(SIGPIPE, SIG_IGN);
        const std::int64_t now = std::time(nullptr);
        Credentials out;
        out.ca = make_ca("test-ca", now);
        pki::CertificateSpec server;
        server.common_name = "server";
        server.addresses = {*IpAddress::parse("127.0.0.1")};
        server.usage = pki::CertificateSpec::Usage::kServer;
        server.lifetime_s = kHourS;
        out.server = *pki::issue(out.ca, server, now);
        pki::CertificateSpec alice;
        alice.common_name = "alice";
        alice.organizations = {"dev", "ops"};
        alice.lifetime_s = kHourS;
        out.alice = *pki::issue(out.ca, alice, now);
        out.stranger = *pki::issue(make_ca("other-ca", now), alice, now);
        return out;
    }();
    return made;
}

ServerOptions server_options() {
    ServerOptions options;
    options.port = 0;
    options.threads = 2;
    options.certificate_pem = credentials().server.certificate_pem;
    options.private_key_pem = credentials().server.private_key_pem;
    options.client_ca_pem = credentials().ca.certificate_pem;
    return options;
}

TlsClient::TlsClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsClient::~TlsClient() = default;

int TlsClient::connect_plain(std::uint16_t port) { return connect_socket(port, 0); }

std::unique_ptr<TlsClient> TlsClient::connect(std::uint16_t port, const Options& options) {
    auto state = std::make_unique<State>();
    state->fd = connect_socket(port, options.receive_buffer_bytes);
    if (state->fd < 0) return nullptr;
    state->context = SSL_CTX_new(TLS_client_method());
    // The server's certificate is verified, so that these tests prove the PKI too.
    const std::string& ca_pem = credentials().ca.certificate_pem;
    BIO* bio = BIO_new_mem_buf(ca_pem.data(), static_cast<int>(ca_pem.size()));
    X509* ca = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(state->context), ca);
    X509_free(ca);
    SSL_CTX_set_verify(state->context, SSL_VERIFY_PEER, nullptr);
    if (options.client != nullptr) use_pair(state->context, *options.client);
    if (options.max_version != 0) {
        SSL_CTX_set_max_proto_version(state->context, options.max_version);
        SSL_CTX_set_security_level(state->context, 0);
    }
    state->ssl = SSL_new(state->context);
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(state->ssl), "127.0.0.1");
    if (!options.alpn.empty()) {
        SSL_set_alpn_protos(state->ssl,
                            reinterpret_cast<const unsigned char*>(options.alpn.data()),
                            static_cast<unsigned>(options.alpn.size()));
    }
    SSL_set_fd(state->ssl, state->fd);
    if (SSL_connect(state->ssl) != 1) return nullptr;
    return std::unique_ptr<TlsClient>(new TlsClient(std::move(state)));
}

bool TlsClient::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const int n = SSL_write(state_->ssl, bytes.data(),
                                static_cast<int>(std::min<std::size_t>(bytes.size(), 1U << 20U)));
        if (n <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

std::string TlsClient::receive() {
    std::string out(16'384, '\0');
    const int n = SSL_read(state_->ssl, out.data(), static_cast<int>(out.size()));
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
}

bool TlsClient::fill() {
    const std::string more = receive();
    state_->buffer += more;
    return !more.empty();
}

bool TlsClient::at_end() { return state_->buffer.empty() && receive().empty(); }

Reply TlsClient::read_head() {
    Reply reply;
    std::size_t end = 0;
    while ((end = state_->buffer.find("\r\n\r\n")) == std::string::npos) {
        if (!fill()) return reply;
    }
    std::string head = state_->buffer.substr(0, end + 2);
    state_->buffer.erase(0, end + 4);
    reply.status = std::atoi(head.c_str() + 9);
    std::size_t line = head.find("\r\n") + 2;
    while (line < head.size()) {
        const std::size_t next = head.find("\r\n", line);
        const std::size_t colon = head.find(": ", line);
        reply.headers[lower(head.substr(line, colon - line))] =
            head.substr(colon + 2, next - colon - 2);
        line = next + 2;
    }
    return reply;
}

std::optional<std::string> TlsClient::chunk() {
    std::size_t end = 0;
    while ((end = state_->buffer.find("\r\n")) == std::string::npos) {
        if (!fill()) return std::nullopt;
    }
    const std::size_t size = std::stoul(state_->buffer.substr(0, end), nullptr, 16);
    while (state_->buffer.size() < end + 2 + size + 2) {
        if (!fill()) return std::nullopt;
    }
    std::string data = state_->buffer.substr(end + 2, size);
    state_->buffer.erase(0, end + 2 + size + 2);
    if (size == 0) {
        state_->last_chunk_came = true;
        return std::nullopt;
    }
    return data;
}

Reply TlsClient::reply(bool head) {
    Reply reply = read_head();
    if (reply.status == 0) return reply;
    if (head || reply.status == 304 || reply.status == 204 || reply.status < 200) {
        reply.complete = true;
        return reply;
    }
    if (reply.headers.contains("transfer-encoding")) {
        state_->last_chunk_came = false;
        while (auto data = chunk()) reply.body += *data;
        reply.complete = state_->last_chunk_came;
        return reply;
    }
    const std::size_t size = std::stoul(reply.headers["content-length"]);
    while (state_->buffer.size() < size) {
        if (!fill()) return reply;
    }
    reply.body = state_->buffer.substr(0, size);
    state_->buffer.erase(0, size);
    reply.complete = true;
    return reply;
}

std::string TlsClient::alpn() const {
    const unsigned char* data = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(state_->ssl, &data, &size);
    return {reinterpret_cast<const char*>(data), size};
}

std::string get(std::string_view target, std::string_view headers) {
    std::string out = "GET ";
    out += target;
    out += " HTTP/1.1\r\nHost: test\r\n";
    out += headers;
    return out + "\r\n";
}

}  // namespace sluice::http::testing
