// See render.h.
#include "agent/cli/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>

#include "agent/cli/render_internal.h"
#include "api/base/host_port.h"

namespace sluice::cli {
namespace {

namespace json = boost::json;
using dataplane::BackendView;
using dataplane::FrontendView;
using dataplane::ServiceView;

std::string frontend_text(const FrontendView& frontend) {
    if (frontend.nodeport) return fmt::format("node:{}", frontend.port);
    return host_and_port(frontend.address, frontend.port);
}

std::string backend_text(const BackendView& backend) {
    std::string out = host_and_port(backend.address, backend.port);
    if (!backend.target.empty()) out += " " + backend.target;
    if (backend.local) out += " (local)";
    if (backend.terminating) out += " (terminating)";
    return out;
}

json::object to_json(const FrontendView& frontend) {
    json::object out;
    if (frontend.nodeport) {
        out["nodePort"] = frontend.port;
    } else {
        out["address"] = frontend.address.to_string();
        out["port"] = frontend.port;
    }
    out["external"] = frontend.external;
    out["masquerade"] = frontend.masquerade;
    out["restricted"] = frontend.restricted;
    out["forwarding"] = frontend.forwarding;
    return out;
}

json::object to_json(const BackendView& backend) {
    json::object entry;
    entry["address"] = backend.address.to_string();
    entry["port"] = backend.port;
    entry["local"] = backend.local;
    entry["terminating"] = backend.terminating;
    entry["target"] = backend.target;
    entry["share"] = backend.share;
    entry["connections"] = backend.traffic.connections;
    entry["packets"] = backend.traffic.packets;
    entry["bytes"] = backend.traffic.bytes;
    return entry;
}

json::array to_json(const std::vector<BackendView>& backends) {
    json::array out;
    for (const auto& backend : backends) out.push_back(to_json(backend));
    return out;
}

json::object to_json(const ServiceView& service) {
    json::object out;
    out["name"] = service.name;
    out["protocol"] = std::string(protocol_name(service.protocol));
    out["family"] = family_name(service.family);
    out["port"] = service.port;
    json::array frontends;
    for (const auto& frontend : service.frontends) frontends.push_back(to_json(frontend));
    out["frontends"] = std::move(frontends);
    out["internal"] = to_json(service.internal);
    out["external"] = to_json(service.external);
    out["inside"] = to_json(service.inside);
    out["internalWhenEmpty"] = service.internal_drop_when_empty ? "drop" : "refuse";
    out["externalWhenEmpty"] = service.external_drop_when_empty ? "drop" : "refuse";
    out["insideWhenEmpty"] = service.inside_drop_when_empty ? "drop" : "refuse";
    out["choice"] = service.choice;
    out["sources"] = json::array(service.sources.begin(), service.sources.end());
    out["affinitySeconds"] = service.affinity_timeout_s;
    out["connections"] = service.connections;
    out["packets"] = service.packets;
    out["bytes"] = service.bytes;
    out["refused"] = service.refused;
    return out;
}

void list_backends(std::string* out, const char* title, const std::vector<BackendView>& backends,
                   bool drop_when_empty) {
    if (backends.empty()) {
        *out += fmt::format("  {}: none, {}\n", title, drop_when_empty ? "dropped" : "refused");
        return;
    }
    *out += fmt::format("  {}:\n", title);
    for (const auto& backend : backends) {
        *out += "    " + backend_text(backend);
        if (backend.traffic.connections != 0) {
            *out += fmt::format(", {} connections", backend.traffic.connections);
        }
        *out += "\n";
    }
}

}  // namespace

std::string table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            fmt::format_to(std::back_inserter(line), "{:<{}}  ", row[i], widths[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

std::string family_name(IpFamily family) { return family == IpFamily::kIpv4 ? "IPv4" : "IPv6"; }

json::object to_json(const dataplane::FlowTableUse& use) {
    json::object entry;
    entry["family"] = family_name(use.family);
    entry["flows"] = use.flows;
    entry["capacity"] = use.capacity;
    entry["displaced"] = use.displaced;
    return entry;
}

std::string render_status(const dataplane::ImageStatus& status, Format format) {
    if (format == Format::kJson) {
        json::object out;
        out["generation"] = status.generation;
        out["layoutVersion"] = status.layout_version;
        out["services"] = status.services;
        out["frontends"] = status.frontends;
        out["backends"] = status.backends;
        json::array addresses;
        for (const auto& address : status.node_addresses) {
            addresses.emplace_back(json::string(address.to_string()));
        }
        out["nodeAddresses"] = std::move(addresses);
        out["serviceCIDRs"] = json::array(status.service_cidrs.begin(), status.service_cidrs.end());
        out["programs"] = json::array(status.programs.begin(), status.programs.end());
        out["kernelBytes"] = status.kernel_bytes;
        out["detectLocal"] = status.detect_local;
        json::array flows;
        for (const auto& use : status.flow_tables) {
            flows.push_back(to_json(use));
        }
        out["flowTables"] = std::move(flows);
        return finish(out);
    }
    std::string out;
    const auto line = [&](const char* name, const auto& value) {
        fmt::format_to(std::back_inserter(out), "{:<18}{}\n", name, value);
    };
    line("Generation", status.generation);
    line("Layout version", status.layout_version);
    line("Service ports", status.services);
    line("Frontends", status.frontends);
    line("Backends", status.backends);
    line("Kernel memory", fmt::format("{:.1f} MiB", static_cast<double>(status.kernel_bytes) / 1048576.0));
    std::vector<std::string> addresses;
    for (const auto& address : status.node_addresses) addresses.push_back(address.to_string());
    line("Node addresses", addresses.empty() ? "none" : fmt::format("{}", fmt::join(addresses, ", ")));
    line("Service ranges", status.service_cidrs.empty()
                               ? "none" : fmt::format("{}", fmt::join(status.service_cidrs, ", ")));
    line("Pods are told by", status.detect_local.empty() ? "none" : status.detect_local);
    for (const auto& use : status.flow_tables) {
        line(("Flows " + family_name(use.family)).c_str(),
             fmt::format("{} of {}, {} displaced", use.flows, use.capacity, use.displaced));
    }
    out += "Programs\n";
    if (status.programs.empty()) out += "  none attached\n";
    for (const auto& program : status.programs) out += "  " + program + "\n";
    return out;
}

std::string render_services(const std::vector<ServiceView>& services, Format format) {
    if (format == Format::kJson) {
        json::array out;
        for (const auto& service : services) out.push_back(to_json(service));
        return finish(out);
    }
    std::vector<std::vector<std::string>> rows = {
        {"SERVICE", "PROTOCOL", "FAMILY", "FRONTENDS", "INTERNAL", "EXTERNAL", "CONNECTIONS"}};
    for (const auto& service : services) {
        std::vector<std::string> frontends;
        bool external = false;
        for (const auto& frontend : service.frontends) {
            frontends.push_back(frontend_text(frontend));
            external = external || frontend.external;
        }
        rows.push_back({service.name, std::string(protocol_name(service.protocol)),
                        family_name(service.family), fmt::format("{}", fmt::join(frontends, ",")),
                        std::to_string(service.internal.size()),
                        external ? std::to_string(service.external.size()) : "-",
                        std::to_string(service.connections)});
    }
    return table(rows);
}

std::string render_service(const std::vector<ServiceView>& ports, Format format) {
    if (format == Format::kJson) return render_services(ports, format);
    std::string out;
    for (const auto& service : ports) {
        out += fmt::format("{} {} {} port {}\n", service.name, protocol_name(service.protocol),
                           family_name(service.family), service.port);
        out += "  frontends:\n";
        bool external = false;
        for (const auto& frontend : service.frontends) {
            external = external || frontend.external;
            out += fmt::format("    {}{}{}{}{}\n", frontend_text(frontend),
                               frontend.external ? " external" : "",
                               frontend.masquerade ? ", source becomes the node's address" : "",
                               frontend.restricted ? ", from the source ranges only" : "",
                               frontend.forwarding == "nat" ? ""
                                                            : ", direct return by " + frontend.forwarding);
        }
        list_backends(&out, external ? "endpoints for internal traffic" : "endpoints",
                      service.internal, service.internal_drop_when_empty);
        if (external) {
            list_backends(&out, "endpoints for external traffic", service.external,
                          service.external_drop_when_empty);
            list_backends(&out, "endpoints for external addresses, from pods and the node",
                          service.inside, service.inside_drop_when_empty);
        }
        if (service.choice == "weighted") {
            out += "  choice: at random, by weight\n";
        } else if (service.choice != "random") {
            out += fmt::format("  choice: consistent hash of the {}\n",
                               service.choice == "client" ? "client's address"
                                                          : "addresses, ports and protocol");
        }
        if (service.affinity_timeout_s != 0) {
            out += fmt::format("  affinity: {} s\n", service.affinity_timeout_s);
        }
        if (!service.sources.empty()) {
            out += fmt::format("  source ranges: {}\n", fmt::join(service.sources, ", "));
        }
        out += fmt::format("  {} connections, {} packets, {} bytes, {} refused\n", service.connections,
                           service.packets, service.bytes, service.refused);
    }
    return out;
}

std::string render_drops(const std::vector<dataplane::DropView>& drops, Format format) {
    if (format == Format::kJson) {
        json::array out;
        for (const auto& drop : drops) {
            json::object entry;
            entry["reason"] = drop.reason;
            entry["count"] = drop.count;
            entry["text"] = drop.text;
            out.push_back(std::move(entry));
        }
        return finish(out);
    }
    std::vector<std::vector<std::string>> rows = {{"REASON", "COUNT", "MEANING"}};
    for (const auto& drop : drops) {
        rows.push_back({drop.reason, std::to_string(drop.count), drop.text});
    }
    return table(rows);
}

std::string render_refused(const std::vector<dataplane::ServiceTraffic>& services) {
    std::vector<std::vector<std::string>> rows = {{"SERVICE", "PROTOCOL", "FAMILY", "REFUSED"}};
    for (const auto& service : services) {
        if (service.refused == 0) continue;
        rows.push_back({service.name, std::string(protocol_name(service.protocol)),
                        family_name(service.family), std::to_string(service.refused)});
    }
    return rows.size() == 1 ? std::string() : table(rows);
}

std::string render_explanation(const dataplane::Explanation& explanation, Format format) {
    if (format == Format::kJson) {
        json::object out;
        out["verdict"] = explanation.verdict;
        out["reason"] = explanation.reason;
        out["service"] = explanation.service ? json::value(to_json(*explanation.service)) : nullptr;
        out["frontend"] = explanation.frontend ? json::value(to_json(*explanation.frontend)) : nullptr;
        json::array candidates;
        for (const auto& candidate : explanation.candidates) {
            json::object entry = to_json(candidate.backend);
            entry["sourceNAT"] = candidate.source_nat;
            entry["forwarding"] = candidate.forwarding;
            candidates.push_back(std::move(entry));
        }
        out["candidates"] = std::move(candidates);
        out["masquerade"] = explanation.masquerade;
        out["masqueradeAddress"] =
            explanation.masquerade_address
                ? json::value(json::string(explanation.masquerade_address->to_string()))
                : nullptr;
        out["origin"] = explanation.origin;
        out["set"] = explanation.set;
        out["flowState"] = explanation.flow ? json::value(json::string(explanation.flow->state)) : nullptr;
        out["answer"] = explanation.answer;
        out["steps"] = json::array(explanation.steps.begin(), explanation.steps.end());
        return finish(out);
    }
    std::string out = fmt::format("{}: {}\n", explanation.verdict, explanation.reason);
    if (explanation.service) {
        out += fmt::format("service   {} {}\n", explanation.service->name,
                           protocol_name(explanation.service->protocol));
    }
    if (explanation.frontend) out += fmt::format("frontend  {}\n", frontend_text(*explanation.frontend));
    if (!explanation.candidates.empty()) {
        const bool certain = explanation.candidates.size() == 1;
        out += certain ? "endpoint  " : fmt::format("endpoint  one of {}\n", explanation.candidates.size());
        for (const auto& candidate : explanation.candidates) {
            if (!certain) out += fmt::format("          {:5.1f} %  ", candidate.backend.share * 100);
            out += backend_text(candidate.backend);
            if (candidate.forwarding != "nat") out += ", direct return by " + candidate.forwarding;
            out += "\n";
        }
    }
    if (explanation.masquerade) {
        out += fmt::format("source    becomes {}\n",
                           explanation.masquerade_address
                               ? explanation.masquerade_address->to_string()
                               : "an address of the node, which has none of this family");
    }
    for (std::size_t i = 0; i < explanation.steps.size(); ++i) {
        out += fmt::format("{}{}. {}\n", i == 0 ? "steps     " : "          ", i + 1,
                           explanation.steps[i]);
    }
    return out;
}

}  // namespace sluice::cli
