#include "control/pki/pki.h"

#include <algorithm>
#include <optional>

#include "api/base/log.h"
#include "control/pki/files.h"

namespace sluice::pki {
namespace {

constexpr std::string_view kComponent = "pki";
constexpr const char* kCaName = "sluice-ca";
constexpr const char* kServerName = "kube-apiserver";

// A certificate and its key under one name. The key is written first: with a key and no certificate an
// interrupted start can go on.
struct Files {
    std::string certificate_path;
    std::string key_path;
    std::optional<std::string> certificate;
    std::optional<std::string> key;
};

Result<Files> read_files(const std::string& directory, const std::string& name) {
    Files files;
    files.certificate_path = directory + "/" + name + ".crt";
    files.key_path = directory + "/" + name + ".key";
    SLUICE_TRY_ASSIGN(files.certificate, read_secret(files.certificate_path));
    SLUICE_TRY_ASSIGN(files.key, read_secret(files.key_path));
    return files;
}

Error damaged(const std::string& path, const Error& why) {
    return Error{why.code,
                 fmt::format("{} is damaged ({}); restore it from a backup, or remove it and its "
                             "companion to have new ones made",
                             path, why.message),
                 why.sys_errno};
}

Result<KeyPair> make_ca(const Files& files, std::int64_t now_s) {
    KeyPair ca;
    if (files.key) {
        ca.private_key_pem = *files.key;
    } else {
        SLUICE_TRY_ASSIGN(ca.private_key_pem, make_private_key());
        SLUICE_TRY(write_secret(files.key_path, ca.private_key_pem));
    }
    auto certificate = make_ca_certificate(ca.private_key_pem, kCaName, now_s, kCaLifetimeS);
    if (!certificate) return damaged(files.key_path, certificate.error());
    ca.certificate_pem = std::move(*certificate);
    SLUICE_TRY(write_secret(files.certificate_path, ca.certificate_pem));
    log::info(kComponent, "made a new certificate authority in {}", files.certificate_path);
    return ca;
}

template <class T>
std::vector<T> sorted(std::vector<T> values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
}

}  // namespace

Result<Directory> Directory::open(std::string path, std::int64_t now_s) {
    SLUICE_TRY(make_private_directory(path));
    SLUICE_TRY_ASSIGN(Files files, read_files(path, "ca"));
    if (!files.certificate) {
        SLUICE_TRY_ASSIGN(KeyPair ca, make_ca(files, now_s));
        return Directory(std::move(path), now_s, std::move(ca));
    }
    if (!files.key) {
        return make_error(Code::kDataLoss,
                          "{} is missing while {} exists; restore it from a backup, or remove {} "
                          "to start a new certificate authority, which old clients will not trust",
                          files.key_path, files.certificate_path, path);
    }
    auto facts = read_certificate(*files.certificate);
    if (!facts) return damaged(files.certificate_path, facts.error());
    if (!facts->is_ca) {
        return damaged(files.certificate_path,
                       make_error(Code::kDataLoss, "it is not a certificate authority's"));
    }
    KeyPair ca{std::move(*files.certificate), std::move(*files.key)};
    if (auto fits = check_key_pair(ca); !fits) return damaged(files.key_path, fits.error());
    if (now_s > facts->not_after_s) {
        return make_error(Code::kFailedPrecondition,
                          "the certificate authority in {} has expired; remove {} to start a new "
                          "one, which old clients will not trust",
                          files.certificate_path, path);
    }
    return Directory(std::move(path), now_s, std::move(ca));
}

Result<KeyPair> Directory::keep(const std::string& name, const CertificateSpec& spec) {
    SLUICE_TRY_ASSIGN(Files files, read_files(path_, name));
    if (files.certificate && files.key) {
        auto facts = read_certificate(*files.certificate);
        if (!facts) return damaged(files.certificate_path, facts.error());
        KeyPair pair{std::move(*files.certificate), std::move(*files.key)};
        auto fits = check_key_pair(pair);
        // A crash between the two renames of a renewal leaves a new key beside an old certificate: both
        // readable, and replaced like a certificate near its end.
        if (!fits && fits.error().code == Code::kDataLoss) {
            return damaged(files.key_path, fits.error());
        }
        SLUICE_TRY_ASSIGN(const bool ours, is_issued_by(pair.certificate_pem, ca_.certificate_pem));
        const bool same = facts->common_name == spec.common_name &&
                          facts->organizations == spec.organizations &&
                          sorted(facts->dns_names) == spec.dns_names &&
                          sorted(facts->addresses) == spec.addresses;
        if (fits && ours && same && now_s_ + kRenewBeforeS < facts->not_after_s) return pair;
        log::info(kComponent, "renewing {}: {}", files.certificate_path,
                  !fits   ? "its key is another one"
                  : !ours ? "it is from another authority"
                  : !same ? "its names have changed"
                          : "it is near its end");
    }
    SLUICE_TRY_ASSIGN(KeyPair pair, issue(ca_, spec, now_s_));
    SLUICE_TRY(write_secret(files.key_path, pair.private_key_pem));
    SLUICE_TRY(write_secret(files.certificate_path, pair.certificate_pem));
    return pair;
}

Result<KeyPair> Directory::server(std::vector<std::string> dns_names,
                                  std::vector<IpAddress> addresses) {
    CertificateSpec spec;
    spec.common_name = kServerName;
    spec.dns_names = sorted(std::move(dns_names));
    spec.addresses = sorted(std::move(addresses));
    spec.usage = CertificateSpec::Usage::kServer;
    spec.lifetime_s = kLifetimeS;
    return keep("server", spec);
}

Result<KeyPair> Directory::client(const std::string& name, const std::string& user,
                                  std::vector<std::string> groups) {
    CertificateSpec spec;
    spec.common_name = user;
    spec.organizations = std::move(groups);
    spec.lifetime_s = kLifetimeS;
    return keep(name, spec);
}

Result<KeyPair> Directory::issue_client(const std::string& user,
                                        std::vector<std::string> groups) const {
    CertificateSpec spec;
    spec.common_name = user;
    spec.organizations = std::move(groups);
    spec.lifetime_s = kLifetimeS;
    return issue(ca_, spec, now_s_);
}

}  // namespace sluice::pki
