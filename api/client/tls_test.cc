// HttpClient against a real TLS server with certificates made here: whom the client believes, and what it shows of
// itself.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <thread>

#include "api/client/http.h"

namespace sluice::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <auto function>
struct Free {
    template <class T>
    void operator()(T* object) const {
        function(object);
    }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;

constexpr long kHourS = 3600;

std::string contents(const Bio& bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}

// A certificate and its key, signed by a CA or by itself.
struct Identity {
    Key key;
    Certificate certificate;

    // alternative_names: as in OpenSSL's configuration, "DNS:a,IP:127.0.0.1"; empty makes a CA.
    Identity(const std::string& common_name, const Identity* ca, const std::string& alternative_names,
             long ends_in_s = kHourS)
        : key(EVP_EC_gen("P-256")), certificate(X509_new()) {
        static long serial = 1;
        X509* const x = certificate.get();
        X509_set_version(x, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
        X509_gmtime_adj(X509_getm_notBefore(x), -2 * kHourS);
        X509_gmtime_adj(X509_getm_notAfter(x), ends_in_s);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0);
        X509* const issuer = ca == nullptr ? x : ca->certificate.get();
        X509_set_issuer_name(x, X509_get_subject_name(issuer));
        X509_set_pubkey(x, key.get());
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer, x, nullptr, nullptr, 0);
        const auto add = [&](int nid, const std::string& value) {
            std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>> extension(
                X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
            EXPECT_TRUE(extension) << value;
            X509_add_ext(x, extension.get(), -1);
        };
        add(NID_basic_constraints, alternative_names.empty() ? "critical,CA:TRUE" : "CA:FALSE");
        if (!alternative_names.empty()) add(NID_subject_alt_name, alternative_names);
        EXPECT_GT(X509_sign(x, ca == nullptr ? key.get() : ca->key.get(), EVP_sha256()), 0);
    }

    [[nodiscard]] std::string certificate_pem() const {
        const Bio bio(BIO_new(BIO_s_mem()));
        PEM_write_bio_X509(bio.get(), certificate.get());
        return contents(bio);
    }
    // password: nullptr for none.
    [[nodiscard]] std::string key_pem(const char* password = nullptr) const {
        const Bio bio(BIO_new(BIO_s_mem()));
        PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(),
                                      password == nullptr ? nullptr : EVP_aes_128_cbc(), password,
                                      password == nullptr ? 0 : 4, nullptr, nullptr);
        return contents(bio);
    }
};

// Answers one request a connection until destroyed: with the client's common name as the body, and the status that
// `judge` finds for the request's head.
class TlsServer {
public:
    TlsServer(const Identity& identity, const Identity* client_ca,
              std::function<int(const std::string& head)> judge = [](const std::string&) { return 200; })
        : context_(SSL_CTX_new(TLS_server_method())), judge_(std::move(judge)) {
        SSL_CTX_use_certificate(context_.get(), identity.certificate.get());
        SSL_CTX_use_PrivateKey(context_.get(), identity.key.get());
        if (client_ca != nullptr) {
            SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
            X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), client_ca->certificate.get());
        }
        fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(fd_, 8), 0);
        socklen_t size = sizeof address;
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { run(); });
    }
    ~TlsServer() {
        ::shutdown(fd_, SHUT_RDWR);
        thread_.join();
        ::close(fd_);
    }
    TlsServer(const TlsServer&) = delete;
    TlsServer& operator=(const TlsServer&) = delete;

    [[nodiscard]] std::uint16_t port() const { return port_; }

private:
    void run() {
        while (true) {
            const int connection = ::accept(fd_, nullptr, nullptr);
            if (connection < 0) return;
            serve(connection);
            ::close(connection);
        }
    }

    void serve(int connection) {
        const std::unique_ptr<SSL, Free<SSL_free>> ssl(SSL_new(context_.get()));
        SSL_set_fd(ssl.get(), connection);
        if (SSL_accept(ssl.get()) != 1) return;
        std::string head;
        char c = 0;
        while (head.find("\r\n\r\n") == std::string::npos && SSL_read(ssl.get(), &c, 1) == 1) head.push_back(c);
        if (head.empty()) return;
        std::string body = "nobody";
        if (const Certificate peer(SSL_get1_peer_certificate(ssl.get())); peer) {
            std::string name(64, '\0');
            const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(peer.get()), NID_commonName,
                                                       name.data(), static_cast<int>(name.size()));
            body = name.substr(0, static_cast<std::size_t>(size));
        }
        const std::string answer = "HTTP/1.1 " + std::to_string(judge_(head)) +
                                   " X\r\nConnection: close\r\nContent-Length: " +
                                   std::to_string(body.size()) + "\r\n\r\n" + body;
        SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size()));
        SSL_shutdown(ssl.get());
    }

    std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> context_;
    std::function<int(const std::string&)> judge_;
    int fd_ = -1;
    std::uint16_t port_ = 0;
    std::thread thread_;
};

class Tls : public testing::Test {
protected:
    static void SetUpTestSuite() { std::signal(SIGPIPE, SIG_IGN); }

    ClientConfig config(const TlsServer& server) const {
        ClientConfig out;
        out.host = "127.0.0.1";
        out.port = server.port();
        out.ca_pem = ca.certificate_pem();
        return out;
    }
    static Result<std::string> get(const ClientConfig& config) {
        SLUICE_TRY_ASSIGN(const auto client, HttpClient::create(config, "test/1"));
        SLUICE_TRY_ASSIGN(const auto response, client->request({"GET", "/", {}, ""}, {}));
        return response.body;
    }
    static Error error_of(const ClientConfig& config) {
        const auto got = get(config);
        EXPECT_FALSE(got) << *got;
        return got ? Error{} : got.error();
    }

    Identity ca{"ca", nullptr, ""};
    Identity server_identity{"server", &ca, "DNS:api.example,IP:127.0.0.1"};
};

TEST_F(Tls, AServerOfTheGivenAuthorityIsBelieved) {
    const TlsServer server(server_identity, nullptr);
    const auto got = get(config(server));
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(*got, "nobody");
}

TEST_F(Tls, OneOfSeveralAuthoritiesSuffices) {
    const TlsServer server(server_identity, nullptr);
    const Identity old("old", nullptr, "");
    ClientConfig both = config(server);
    both.ca_pem = old.certificate_pem() + both.ca_pem;
    const auto got = get(both);
    EXPECT_TRUE(got) << got.error().message;
}

TEST_F(Tls, AServerOfAnotherAuthorityIsRefused) {
    const TlsServer server(server_identity, nullptr);
    // The name is the same; the key is not.
    const Identity other("ca", nullptr, "");
    ClientConfig stranger = config(server);
    stranger.ca_pem = other.certificate_pem();
    const Error error = error_of(stranger);
    EXPECT_EQ(error.code, Code::kUnauthenticated);
    EXPECT_THAT(error.message, AllOf(HasSubstr(stranger.url()), HasSubstr("certificate is not accepted")));

    ClientConfig system = config(server);
    system.ca_pem.clear();
    EXPECT_EQ(error_of(system).code, Code::kUnauthenticated);

    stranger.insecure_skip_tls_verify = true;
    EXPECT_TRUE(get(stranger));
}

TEST_F(Tls, ACertificateForAnotherNameIsRefusedAndTheNameSaid) {
    const Identity elsewhere("127.0.0.1", &ca, "DNS:elsewhere.example,IP:192.0.2.1");
    const TlsServer server(elsewhere, nullptr);
    const Error address = error_of(config(server));
    EXPECT_EQ(address.code, Code::kUnauthenticated);
    EXPECT_THAT(address.message, AllOf(HasSubstr("\"127.0.0.1\""), HasSubstr("mismatch")));

    ClientConfig by_name = config(server);
    by_name.tls_server_name = "api.example";
    const Error name = error_of(by_name);
    EXPECT_EQ(name.code, Code::kUnauthenticated);
    EXPECT_THAT(name.message, AllOf(HasSubstr("\"api.example\""), HasSubstr("mismatch")));

    by_name.tls_server_name = "elsewhere.example";
    EXPECT_TRUE(get(by_name));
}

TEST_F(Tls, ACertificateThatHasEndedIsRefused) {
    const Identity ended("server", &ca, "IP:127.0.0.1", -kHourS);
    const TlsServer server(ended, nullptr);
    const Error error = error_of(config(server));
    EXPECT_EQ(error.code, Code::kUnauthenticated);
    EXPECT_THAT(error.message, HasSubstr("expired"));
}

TEST_F(Tls, TheClientCertificateIsPresented) {
    const Identity client_ca("clients", nullptr, "");
    const Identity admin("admin", &client_ca, "email:a@example.com");
    const TlsServer server(server_identity, &client_ca);
    EXPECT_FALSE(get(config(server)));

    ClientConfig known = config(server);
    known.certificate_pem = admin.certificate_pem();
    known.private_key_pem = admin.key_pem();
    const auto got = get(known);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(*got, "admin");
}

TEST_F(Tls, KeysThatCannotServeAreRefusedBeforeAnythingIsSent) {
    const Identity admin("admin", &ca, "email:a@example.com");
    ClientConfig wrong;
    wrong.host = "127.0.0.1";
    wrong.ca_pem = ca.certificate_pem();
    wrong.certificate_pem = admin.certificate_pem();
    // Whoever asked for the password would be given it here.
    std::array<int, 2> input{};
    ASSERT_EQ(::pipe(input.data()), 0);
    ASSERT_EQ(::write(input[1], "word\n", 5), 5);
    ::close(input[1]);
    ASSERT_EQ(::dup2(input[0], STDIN_FILENO), STDIN_FILENO);
    ::close(input[0]);
    // Another's, one behind a password (which must not be asked for on a terminal), and none.
    for (const std::string& key : {ca.key_pem(), admin.key_pem("word"), std::string("key")}) {
        wrong.private_key_pem = key;
        const auto client = HttpClient::create(wrong, "test/1");
        ASSERT_FALSE(client);
        EXPECT_EQ(client.error().code, Code::kInvalidArgument);
        EXPECT_THAT(client.error().message, HasSubstr("client key"));
    }
}

TEST_F(Tls, ARotatedTokenFileIsReadAgainWhenTheServerRefusesTheToken) {
    std::atomic<const char*> accepted = "first";
    const TlsServer server(server_identity, nullptr, [&](const std::string& head) {
        return head.find(std::string("Authorization: Bearer ") + accepted.load() + "\r\n") == std::string::npos ? 401 : 200;
    });
    const auto directory = std::filesystem::path(testing::TempDir()) / ("tls_test." + std::to_string(::getpid()));
    std::filesystem::create_directory(directory);
    const auto file = directory / "token";
    const auto write = [&](const char* text) { std::ofstream(file) << text; };
    write("first\n");
    ClientConfig with_token = config(server);
    with_token.token_file = file.string();
    with_token.token = "of the kubeconfig";
    const auto client = HttpClient::create(with_token, "test/1");
    ASSERT_TRUE(client);
    const auto status = [&] {
        const auto response = (*client)->request({"GET", "/", {}, ""}, {});
        EXPECT_TRUE(response) << response.error().message;
        return response ? response->head.status : 0;
    };
    EXPECT_EQ(status(), 200);
    write("second\n");
    accepted = "second";
    EXPECT_EQ(status(), 401);
    EXPECT_EQ(status(), 200);
    // Half of a rotation: the file is gone or empty for a moment, and the last token still holds.
    std::filesystem::remove(file);
    accepted = "none";
    EXPECT_EQ(status(), 401);
    accepted = "second";
    EXPECT_EQ(status(), 200);
    std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace sluice::client
