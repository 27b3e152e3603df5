#include "control/cni/result.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>

namespace sluice::cni {
namespace {

namespace json = boost::json;

std::string version_to_answer(const std::string& asked) {
    const bool known = std::find(kVersions.begin(), kVersions.end(), asked) != kVersions.end();
    return known ? asked : std::string(kVersions.back());
}

json::object interface(std::string_view name, const Mac& mac, std::uint32_t mtu,
                       const std::string& sandbox, bool with_mtu) {
    json::object out{{"name", name}, {"mac", mac.to_string()}};
    if (with_mtu) out["mtu"] = mtu;
    if (!sandbox.empty()) out["sandbox"] = sandbox;
    return out;
}

}  // namespace

std::string render_result(const Config& config, const Environment& environment,
                          const Attached& attached) {
    const bool before_1 = config.cni_version < "1.0.0";
    const bool with_mtu = config.cni_version >= "1.1.0";
    json::array ips;
    json::array routes;
    for (const IpAddress& address : attached.addresses) {
        const bool v4 = address.is_v4();
        const std::string_view via = v4 ? kGatewayV4 : kGatewayV6;
        // The index is the pod's interface below.
        json::object ip{{"address", address.to_string() + (v4 ? "/32" : "/128")},
                        {"gateway", via},
                        {"interface", 1}};
        if (before_1) ip["version"] = v4 ? "4" : "6";
        ips.push_back(std::move(ip));
        routes.push_back(json::object{{"dst", v4 ? "0.0.0.0/0" : "::/0"}, {"gw", via}});
    }
    const json::object result{
        {"cniVersion", config.cni_version},
        {"interfaces",
         json::array{interface(attached.host_name, attached.host_mac, attached.mtu, "", with_mtu),
                     interface(environment.ifname, attached.pod_mac, attached.mtu,
                               environment.netns, with_mtu)}},
        {"ips", std::move(ips)},
        {"routes", std::move(routes)},
        {"dns", json::object{}}};
    return json::serialize(result) + "\n";
}

std::string render_loopback(const Config& config, const Environment& environment,
                            const std::vector<LinkAddress>& addresses) {
    json::array ips;
    for (const LinkAddress& item : addresses) {
        json::object ip{{"address", fmt::format("{}/{}", item.address.to_string(), item.bits)},
                        {"interface", 0}};
        if (config.cni_version < "1.0.0") ip["version"] = item.address.is_v4() ? "4" : "6";
        ips.push_back(std::move(ip));
    }
    const json::object result{{"cniVersion", config.cni_version},
                              {"interfaces", json::array{interface(environment.ifname, Mac{}, 0,
                                                                   environment.netns, false)}},
                              {"ips", std::move(ips)},
                              {"dns", json::object{}}};
    return json::serialize(result) + "\n";
}

std::string render_error(const std::string& cni_version, const CniError& error) {
    json::object out{{"cniVersion", version_to_answer(cni_version)},
                     {"code", static_cast<unsigned>(error.code)},
                     {"msg", error.message}};
    if (!error.details.empty()) out["details"] = error.details;
    return json::serialize(out) + "\n";
}

std::string render_versions(const std::string& cni_version) {
    json::array supported;
    for (const std::string_view version : kVersions) supported.emplace_back(version);
    const json::object out{{"cniVersion", version_to_answer(cni_version)},
                           {"supportedVersions", std::move(supported)}};
    return json::serialize(out) + "\n";
}

CniError to_cni_error(const Error& error) {
    CniError out{CniCode::kIoFailure, error.message, ""};
    switch (error.code) {
        case Code::kInvalidArgument: out.code = CniCode::kInvalidEnvironment; break;
        case Code::kNotFound: out.code = CniCode::kUnknownContainer; break;
        case Code::kAlreadyExists:
            // The kernel's EEXIST of an address or a route is a failure of the step, not of the
            // request.
            if (error.sys_errno == 0) out.code = CniCode::kAlreadyAttached;
            break;
        case Code::kFailedPrecondition: out.code = CniCode::kCheckFailed; break;
        case Code::kResourceExhausted:
            if (error.sys_errno == 0) out.code = CniCode::kTryAgainLater;
            break;
        default: break;
    }
    // The environment is at fault only where no system call said otherwise.
    if (error.sys_errno != 0) {
        out.details = std::strerror(error.sys_errno);
        if (out.code != CniCode::kUnknownContainer) out.code = CniCode::kIoFailure;
        if (error.sys_errno == EPERM || error.sys_errno == EACCES) {
            out.details += "; the plugin needs CAP_NET_ADMIN and CAP_SYS_ADMIN";
        }
    }
    return out;
}

}  // namespace sluice::cni
