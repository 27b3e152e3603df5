// The control plane's certificates: made on the first start in a directory, reused on later ones.
//
//   DIR/ca.key, ca.crt          ten years; signs all the others
//   DIR/server.key, server.crt  one year; made anew when near its end or when its names change
//   DIR/NAME.key, NAME.crt      one year; a client, made anew when near its end or when its groups change
//
// A file that cannot be read as what it should be is refused, not replaced: the clients out there trust what
// it held, and only a person can say that they may be cut off.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "control/pki/certificate.h"

namespace sluice::pki {

inline constexpr std::int64_t kDayS = 86'400;
inline constexpr std::int64_t kCaLifetimeS = 3'650 * kDayS;
inline constexpr std::int64_t kLifetimeS = 365 * kDayS;
inline constexpr std::int64_t kRenewBeforeS = 30 * kDayS;

class Directory {
public:
    // Makes the directory and the CA if they are absent. now_s is Unix time.
    // kDataLoss: a file is damaged or a part is missing; kFailedPrecondition: the CA has expired. The message names
    // the file and what to do.
    static Result<Directory> open(std::string path, std::int64_t now_s);

    [[nodiscard]] const std::string& ca_pem() const { return ca_.certificate_pem; }
    // For whoever signs certificates of nodes.
    [[nodiscard]] const KeyPair& ca() const { return ca_; }

    // The server's pair for exactly these names and addresses.
    Result<KeyPair> server(std::vector<std::string> dns_names, std::vector<IpAddress> addresses);
    // The pair of a client kept in the directory as NAME.
    Result<KeyPair> client(const std::string& name, const std::string& user,
                           std::vector<std::string> groups);
    // A client's pair that is handed out and not kept.
    [[nodiscard]] Result<KeyPair> issue_client(const std::string& user,
                                               std::vector<std::string> groups) const;

private:
    Directory(std::string path, std::int64_t now_s, KeyPair ca)
        : path_(std::move(path)), now_s_(now_s), ca_(std::move(ca)) {}

    Result<KeyPair> keep(const std::string& name, const CertificateSpec& spec);

    std::string path_;
    std::int64_t now_s_;
    KeyPair ca_;
};

}  // namespace sluice::pki
