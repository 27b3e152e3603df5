// Certificates and their directory. Chains are verified by OpenSSL's own verifier, with the purposes that TLS
// peers ask for.
#include "control/pki/pki.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "control/pki/files.h"
#include "control/pki/kubeconfig.h"

namespace sluice::pki {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kNow = 1'800'000'000;  // 2027-01-15

class TemporaryDirectory {
public:
    TemporaryDirectory() {
        std::string name = (fs::temp_directory_path() / "sluice-pki-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~TemporaryDirectory() { fs::remove_all(path_); }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] std::string path(const std::string& name = "pki") const {
        return path_ + "/" + name;
    }

private:
    std::string path_;
};

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

unsigned mode(const std::string& path) {
    struct stat facts {};
    EXPECT_EQ(::stat(path.c_str(), &facts), 0) << path;
    return facts.st_mode & 0777U;
}

X509* certificate(const std::string& pem) {
    BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    X509* out = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    return out;
}

// What a TLS peer does with the certificate: X509_V_OK or the reason against it.
int verify(const std::string& pem, const std::string& ca_pem, int purpose, std::int64_t at,
           const char* host = nullptr, const char* address = nullptr) {
    X509_STORE* store = X509_STORE_new();
    X509* ca = certificate(ca_pem);
    X509* leaf = certificate(pem);
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX* context = X509_STORE_CTX_new();
    X509_STORE_CTX_init(context, store, leaf, nullptr);
    X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_purpose(parameters, purpose);
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set_time(parameters, at);
    if (host != nullptr) X509_VERIFY_PARAM_set1_host(parameters, host, 0);
    if (address != nullptr) X509_VERIFY_PARAM_set1_ip_asc(parameters, address);
    X509_verify_cert(context);
    const int result = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_free(leaf);
    X509_free(ca);
    X509_STORE_free(store);
    return result;
}

const std::vector<std::string> kNames = {"kubernetes.default.svc", "localhost"};
const std::vector<IpAddress> kAddresses = {*IpAddress::parse("127.0.0.1"), *IpAddress::parse("::1")};

TEST(Pki, ServerCertificateIsWhatClientsAccept) {
    const TemporaryDirectory temporary;
    auto directory = Directory::open(temporary.path(), kNow);
    ASSERT_TRUE(directory) << directory.error().message;
    const auto server = directory->server(kNames, kAddresses);
    ASSERT_TRUE(server);
    const std::string& pem = server->certificate_pem;
    const std::string& ca = directory->ca_pem();
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow, "localhost"), X509_V_OK);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow, "kubernetes.default.svc"), X509_V_OK);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow, nullptr, "127.0.0.1"), X509_V_OK);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow, nullptr, "::1"), X509_V_OK);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow, "example.org"),
              X509_V_ERR_HOSTNAME_MISMATCH);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow, nullptr, "10.0.0.1"),
              X509_V_ERR_IP_ADDRESS_MISMATCH);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_CLIENT, kNow), X509_V_ERR_INVALID_PURPOSE);
    // A clock a little behind, the last day, the day after.
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow - 60), X509_V_OK);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow + 364 * kDayS), X509_V_OK);
    EXPECT_EQ(verify(pem, ca, X509_PURPOSE_SSL_SERVER, kNow + 366 * kDayS),
              X509_V_ERR_CERT_HAS_EXPIRED);
    EXPECT_TRUE(check_key_pair(*server));
}

TEST(Pki, ClientCertificateCarriesUserAndGroups) {
    const TemporaryDirectory temporary;
    auto directory = Directory::open(temporary.path(), kNow);
    ASSERT_TRUE(directory);
    const auto client = directory->client("admin", "kubernetes-admin", {"system:masters", "x"});
    ASSERT_TRUE(client);
    const auto facts = read_certificate(client->certificate_pem);
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->common_name, "kubernetes-admin");
    EXPECT_EQ(facts->organizations, (std::vector<std::string>{"system:masters", "x"}));
    EXPECT_FALSE(facts->is_ca);
    EXPECT_EQ(verify(client->certificate_pem, directory->ca_pem(), X509_PURPOSE_SSL_CLIENT, kNow),
              X509_V_OK);
    EXPECT_EQ(verify(client->certificate_pem, directory->ca_pem(), X509_PURPOSE_SSL_SERVER, kNow),
              X509_V_ERR_INVALID_PURPOSE);
    const TemporaryDirectory elsewhere;
    const auto other = Directory::open(elsewhere.path(), kNow);
    EXPECT_NE(verify(client->certificate_pem, other->ca_pem(), X509_PURPOSE_SSL_CLIENT, kNow),
              X509_V_OK);
    EXPECT_FALSE(*is_issued_by(client->certificate_pem, other->ca_pem()));
}

TEST(Pki, FilesAreTheirOwnersOnlyAndReused) {
    const TemporaryDirectory temporary;
    KeyPair first;
    KeyPair admin;
    {
        auto directory = Directory::open(temporary.path(), kNow);
        first = *directory->server(kNames, kAddresses);
        admin = *directory->client("admin", "a", {"g"});
    }
    EXPECT_EQ(mode(temporary.path()), 0700U);
    int files = 0;
    for (const auto& entry : fs::directory_iterator(temporary.path())) {
        EXPECT_EQ(mode(entry.path()), 0600U) << entry.path();
        ++files;
    }
    EXPECT_EQ(files, 6);  // no temporary file was left behind
    auto again = Directory::open(temporary.path(), kNow + 100 * kDayS);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->server(kNames, kAddresses)->certificate_pem, first.certificate_pem);
    EXPECT_EQ(again->client("admin", "a", {"g"})->certificate_pem, admin.certificate_pem);
    // The order of names does not matter.
    EXPECT_EQ(again->server({kNames[1], kNames[0]}, kAddresses)->certificate_pem,
              first.certificate_pem);
}

TEST(Pki, ServerCertificateIsRenewedNearItsEndAndForOtherNames) {
    const TemporaryDirectory temporary;
    auto directory = Directory::open(temporary.path(), kNow);
    const std::string first = directory->server(kNames, kAddresses)->certificate_pem;
    auto later = Directory::open(temporary.path(), kNow + 336 * kDayS);
    const std::string second = later->server(kNames, kAddresses)->certificate_pem;
    EXPECT_NE(second, first);
    EXPECT_EQ(verify(second, directory->ca_pem(), X509_PURPOSE_SSL_SERVER, kNow + 400 * kDayS),
              X509_V_OK);
    auto names = kNames;
    names.emplace_back("api.example.org");
    const std::string third = later->server(names, kAddresses)->certificate_pem;
    EXPECT_EQ(verify(third, directory->ca_pem(), X509_PURPOSE_SSL_SERVER, kNow + 340 * kDayS,
                     "api.example.org"),
              X509_V_OK);
    EXPECT_EQ(later->server(names, kAddresses)->certificate_pem, third);
}

TEST(Pki, ClientWithOtherGroupsIsMadeAnew) {
    const TemporaryDirectory temporary;
    auto directory = Directory::open(temporary.path(), kNow);
    const std::string first = directory->client("x", "u", {"a"})->certificate_pem;
    EXPECT_NE(directory->client("x", "u", {"b"})->certificate_pem, first);
}

TEST(Pki, NothingOutlivesTheAuthority) {
    const TemporaryDirectory temporary;
    ASSERT_TRUE(Directory::open(temporary.path(), kNow));
    auto late = Directory::open(temporary.path(), kNow + kCaLifetimeS - kDayS);
    ASSERT_TRUE(late);
    EXPECT_EQ(read_certificate(late->issue_client("u", {})->certificate_pem)->not_after_s,
              kNow + kCaLifetimeS);
}

TEST(Pki, ExpiredAuthorityIsRefused) {
    const TemporaryDirectory temporary;
    ASSERT_TRUE(Directory::open(temporary.path(), kNow));
    const auto late = Directory::open(temporary.path(), kNow + kCaLifetimeS + 1);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kFailedPrecondition);
    EXPECT_NE(late.error().message.find("expired"), std::string::npos);
}

TEST(Pki, DamagedFilesAreRefusedByNameAndKept) {
    for (const std::string name : {"ca.crt", "ca.key", "server.crt", "server.key"}) {
        for (const std::string damage : {"", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n"}) {
            const TemporaryDirectory temporary;
            {
                auto directory = Directory::open(temporary.path(), kNow);
                ASSERT_TRUE(directory->server(kNames, kAddresses));
            }
            const std::string path = temporary.path() + "/" + name;
            write(path, damage);
            auto directory = Directory::open(temporary.path(), kNow);
            Error error;
            if (directory) {
                const auto server = directory->server(kNames, kAddresses);
                ASSERT_FALSE(server) << name << " " << damage;
                error = server.error();
            } else {
                error = directory.error();
            }
            EXPECT_EQ(error.code, Code::kDataLoss) << error.message;
            EXPECT_NE(error.message.find(path), std::string::npos) << error.message;
            EXPECT_EQ(read(path), damage);
        }
    }
}

TEST(Pki, KeyOfAnotherCertificateIsRefused) {
    const TemporaryDirectory temporary;
    ASSERT_TRUE(Directory::open(temporary.path(), kNow));
    write(temporary.path() + "/ca.key", *make_private_key());
    const auto directory = Directory::open(temporary.path(), kNow);
    ASSERT_FALSE(directory);
    EXPECT_NE(directory.error().message.find("ca.key"), std::string::npos);
}

// As Go's AppendCertsFromPEM takes them, and client-go's words for those it does not.
TEST(Pki, AuthoritiesAreThoseThatCanBeRead) {
    const std::string key = *make_private_key();
    const std::string ca = *make_ca_certificate(key, "ca", 1'700'000'000, 1'000'000);
    const std::string broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (const auto& good : {ca, key + ca, "words\n" + ca, broken + ca, ca + broken, ca + "rest"}) {
        EXPECT_TRUE(check_authorities(good)) << good;
    }
    const auto why = [](const std::string& pem) { return check_authorities(pem).error().message; };
    EXPECT_EQ(why("\n"), "unable to parse bytes as PEM block");
    EXPECT_EQ(why("words"), "unable to parse bytes as PEM block");
    EXPECT_EQ(why(ca.substr(0, ca.size() / 2)), "unable to parse bytes as PEM block");
    EXPECT_EQ(why(key), "no valid certificate authority data seen");
    EXPECT_EQ(why(broken).find("failed to parse certificate: "), 0U);
}

TEST(Pki, LeafCannotStandAsAuthority) {
    const TemporaryDirectory temporary;
    {
        auto directory = Directory::open(temporary.path(), kNow);
        ASSERT_TRUE(directory->server(kNames, kAddresses));
    }
    fs::copy_file(temporary.path() + "/server.crt", temporary.path() + "/ca.crt",
                  fs::copy_options::overwrite_existing);
    fs::copy_file(temporary.path() + "/server.key", temporary.path() + "/ca.key",
                  fs::copy_options::overwrite_existing);
    EXPECT_FALSE(Directory::open(temporary.path(), kNow));
}

TEST(Pki, MissingAuthorityKeyIsRefusedAndMissingCertificateMadeFromTheKey) {
    const TemporaryDirectory temporary;
    ASSERT_TRUE(Directory::open(temporary.path(), kNow));
    fs::rename(temporary.path() + "/ca.key", temporary.path() + "/kept");
    const auto without = Directory::open(temporary.path(), kNow);
    ASSERT_FALSE(without);
    EXPECT_NE(without.error().message.find("ca.key is missing"), std::string::npos);
    EXPECT_FALSE(fs::exists(temporary.path() + "/ca.key"));
    // An interrupted first start leaves the key alone.
    fs::rename(temporary.path() + "/kept", temporary.path() + "/ca.key");
    const std::string key = read(temporary.path() + "/ca.key");
    fs::remove(temporary.path() + "/ca.crt");
    ASSERT_TRUE(Directory::open(temporary.path(), kNow));
    EXPECT_EQ(read(temporary.path() + "/ca.key"), key);
}

TEST(Pki, InterruptedRenewalGoesOn) {
    const TemporaryDirectory temporary;
    auto directory = Directory::open(temporary.path(), kNow);
    ASSERT_TRUE(directory->server(kNames, kAddresses));
    write(temporary.path() + "/server.key", *make_private_key());
    const auto server = directory->server(kNames, kAddresses);
    ASSERT_TRUE(server);
    EXPECT_TRUE(check_key_pair(*server));
}

TEST(Pki, HostileFilesAreRefused) {
    const TemporaryDirectory temporary;
    ASSERT_TRUE(Directory::open(temporary.path(), kNow));
    const std::string path = temporary.path() + "/ca.key";
    fs::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_FALSE(Directory::open(temporary.path(), kNow));  // and it does not hang
    fs::remove(path);
    write(path, std::string(kMaxFileBytes + 1, 'x'));
    EXPECT_FALSE(Directory::open(temporary.path(), kNow));
    write(temporary.path("file"), "");
    EXPECT_FALSE(Directory::open(temporary.path("file"), kNow));
}

TEST(Files, LooseModeIsTightened) {
    const TemporaryDirectory temporary;
    const std::string path = temporary.path("secret");
    write(path, "x");
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    EXPECT_EQ(**read_secret(path), "x");
    EXPECT_EQ(mode(path), 0600U);
    EXPECT_EQ(*read_secret(temporary.path("absent")), std::nullopt);
}

TEST(Kubeconfig, IsWrittenOnceAndForTheOwner) {
    const TemporaryDirectory temporary;
    const std::string path = temporary.path("k");
    const Kubeconfig config{"https://127.0.0.1:6443", "CA", "o'brien", {"CERT", "KEY"}};
    ASSERT_TRUE(write_kubeconfig(path, config));
    EXPECT_EQ(mode(path), 0600U);
    const std::string text = read(path);
    EXPECT_NE(text.find("certificate-authority-data: Q0E=\n"), std::string::npos);
    EXPECT_NE(text.find("client-certificate-data: Q0VSVA==\n"), std::string::npos);
    EXPECT_NE(text.find("client-key-data: S0VZ\n"), std::string::npos);
    EXPECT_NE(text.find("server: 'https://127.0.0.1:6443'\n"), std::string::npos);
    EXPECT_NE(text.find("- name: 'o''brien'\n"), std::string::npos);
    const auto inode = [&] {
        struct stat facts {};
        ::stat(path.c_str(), &facts);
        return facts.st_ino;
    };
    const auto before = inode();
    ASSERT_TRUE(write_kubeconfig(path, config));
    EXPECT_EQ(inode(), before);  // unchanged text is not written again
    auto moved = config;
    moved.server = "https://127.0.0.1:7443";
    ASSERT_TRUE(write_kubeconfig(path, moved));
    EXPECT_NE(read(path), text);
}

}  // namespace
}  // namespace sluice::pki
