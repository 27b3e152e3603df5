// Look-ups in a snapshot: see zone.h.
#include <algorithm>

#include "control/dns/zone.h"

namespace sluice::dns {
namespace {

constexpr std::string_view kSchemaVersion = "1.1.0";
// What CoreDNS uses too; all targets are equal.
constexpr std::uint16_t kSrvPriority = 0;
constexpr std::uint16_t kSrvWeight = 100;
constexpr std::uint32_t kSoaRefresh = 7'200;
constexpr std::uint32_t kSoaRetry = 1'800;
constexpr std::uint32_t kSoaExpire = 86'400;
// The least an address record takes in a message: a pointer, ten bytes and four of address.
constexpr std::size_t kLeastRecordBytes = 16;

enum class Found : std::uint8_t { kYes, kNoName };

class Lookup {
public:
    Lookup(const Snapshot& snapshot, const ZoneConfig& config, const Question& question,
           std::uint32_t rotation, std::size_t limit)
        : snapshot_(snapshot),
          config_(config),
          type_(question.type),
          rotation_(rotation),
          max_records_(limit / kLeastRecordBytes + 1),
          name_(question.name) {}

    Answer run() {
        if (!name_.is_within(config_.domain)) return reverse();
        if (!snapshot_.complete) {
            answer_.kind = Answer::Kind::kUnknown;
            return std::move(answer_);
        }
        for (int aliases = 0;; ++aliases) {
            alias_.reset();
            const Found found = look_up();
            if (found == Found::kNoName) answer_.rcode = rcode::kNxDomain;
            if (!alias_ || aliases == kMaxAliases) break;
            if (!alias_->is_within(config_.domain)) {
                answer_.elsewhere = std::move(alias_);
                return std::move(answer_);
            }
            name_ = *alias_;
        }
        if (!data_) negative(config_.domain);
        return std::move(answer_);
    }

private:
    // The name, relative to the domain and from the right.
    Found look_up() {
        const Name lower = name_.lower();
        auto labels = lower.labels();
        labels.resize(labels.size() - config_.domain.labels().size());
        std::reverse(labels.begin(), labels.end());
        if (labels.empty()) return apex();
        if (labels[0] == "svc") return below_svc(labels);
        if (labels[0] == "pod") return below_pod(labels);
        if (labels[0] == "dns-version") {
            if (labels.size() > 1) return Found::kNoName;
            if (type_ == type::kTxt) add(txt_record(name_, kSchemaVersion, kTtlSeconds));
            return Found::kYes;
        }
        // ns.dns is the name server's own name.
        if (labels[0] == "dns") {
            if (labels.size() == 1) return Found::kYes;
            if (labels.size() > 2 || labels[1] != "ns") return Found::kNoName;
            add_addresses(name_, config_.addresses);
            return Found::kYes;
        }
        return Found::kNoName;
    }

    Found apex() {
        if (type_ == type::kSoa) add(soa(config_.domain));
        if (type_ == type::kNs) {
            const auto server = server_name();
            add(name_record(name_, type::kNs, server, kTtlSeconds));
            for (const auto& address : config_.addresses) {
                answer_.additional.push_back(address_record(server, address, kTtlSeconds));
            }
        }
        return Found::kYes;
    }

    // svc, namespace, Service, then nothing, a host, or protocol and port.
    Found below_svc(const std::vector<std::string_view>& labels) {
        if (labels.size() == 1) return Found::kYes;
        if (labels.size() == 2) return namespace_exists(labels[1]);
        const ServiceRecords* service = snapshot_.find_service(labels[1], labels[2]);
        if (service == nullptr || !service->exists() || labels.size() > 5) return Found::kNoName;
        if (labels.size() == 3) {
            if (service->external_name) {
                add(name_record(name_, type::kCname, *service->external_name, kTtlSeconds));
                if (type_ != type::kCname) alias_ = service->external_name;
            } else {
                add_addresses(name_, service->addresses);
            }
            return Found::kYes;
        }
        if (labels.size() == 4) {
            if (const auto* host = service->find_host(labels[3])) {
                add_addresses(name_, host->addresses);
                return Found::kYes;
            }
        }
        bool below = false;
        for (const auto& srv : service->srvs) {
            if (srv.protocol_label != labels[3]) continue;
            if (labels.size() == 4) return Found::kYes;  // there are names below it
            if (srv.port_label != labels[4]) continue;
            below = true;
            if (type_ == type::kSrv) add_srv(*service, srv);
        }
        return below ? Found::kYes : Found::kNoName;
    }

    // a-b-c-d.NAMESPACE.pod: any address, as section 2.6 demands, of namespaces that exist.
    Found below_pod(const std::vector<std::string_view>& labels) {
        if (labels.size() == 1) return Found::kYes;
        if (labels.size() > 3 || namespace_exists(labels[1]) == Found::kNoName) {
            return Found::kNoName;
        }
        if (labels.size() == 2) return Found::kYes;
        const auto address = parse_address_label(labels[2]);
        if (!address) return Found::kNoName;
        add_addresses(name_, {&*address, 1});
        return Found::kYes;
    }

    Found namespace_exists(std::string_view name) const {
        return snapshot_.namespaces->contains(name) ? Found::kYes : Found::kNoName;
    }

    Answer reverse() {
        answer_.kind = Answer::Kind::kForeign;
        const auto address = parse_reverse_name(name_);
        if (!address) return std::move(answer_);
        if (const auto* names = snapshot_.find_pointers(*address)) {
            answer_.kind = Answer::Kind::kAnswer;
            if (type_ == type::kPtr) {
                for (const auto& target : *names) {
                    add(name_record(name_, type::kPtr, target, kTtlSeconds));
                }
            }
        } else if (std::any_of(config_.owned.begin(), config_.owned.end(),
                               [&](const IpPrefix& range) { return range.contains(*address); })) {
            answer_.kind = snapshot_.complete ? Answer::Kind::kAnswer : Answer::Kind::kUnknown;
            answer_.rcode = rcode::kNxDomain;
        }
        if (answer_.kind == Answer::Kind::kAnswer && !data_) {
            negative(*Name::parse(address->is_v4() ? "in-addr.arpa" : "ip6.arpa"));
        }
        return std::move(answer_);
    }

    void add(Record record) {
        data_ = data_ || record.type == type_;
        answer_.answers.push_back(std::move(record));
    }

    // Those of the family asked for, from a random one on.
    void add_addresses(const Name& name, std::span<const IpAddress> addresses) {
        const bool v4 = type_ == type::kA;
        if (!v4 && type_ != type::kAaaa) return;
        const auto middle = std::find_if(addresses.begin(), addresses.end(),
                                         [](const IpAddress& a) { return !a.is_v4(); });
        const auto split = static_cast<std::size_t>(middle - addresses.begin());
        const auto part = v4 ? addresses.first(split) : addresses.subspan(split);
        for (std::size_t i = 0; i < std::min(part.size(), max_records_); ++i) {
            add(address_record(name, part[(rotation_ + i) % part.size()], kTtlSeconds));
        }
    }

    void add_srv(const ServiceRecords& service, const ServiceRecords::Srv& srv) {
        const auto base = Name::join({service.name, service.namespace_name, "svc"}, config_.domain);
        if (!base) return;
        std::size_t extra = 0;
        const auto tell = [&](const Name& name, std::span<const IpAddress> addresses) {
            for (const auto& address : addresses) {
                if (++extra > kMaxExtraAddresses) return;
                answer_.additional.push_back(address_record(name, address, kTtlSeconds));
            }
        };
        for (std::size_t i = 0; i < std::min(srv.targets.size(), max_records_); ++i) {
            const auto& target = srv.targets[(rotation_ + i) % srv.targets.size()];
            if (!service.headless) {
                add(srv_record(name_, kSrvPriority, kSrvWeight, target.port, *base, kTtlSeconds));
                tell(*base, service.addresses);
                continue;
            }
            const auto& host = service.hosts[target.host];
            const auto name = Name::join({host.label}, *base);
            if (!name) continue;
            add(srv_record(name_, kSrvPriority, kSrvWeight, target.port, *name, kTtlSeconds));
            tell(*name, host.addresses);
        }
    }

    void negative(const Name& zone) { answer_.authority.push_back(soa(zone)); }

    Record soa(const Name& zone) const {
        Soa fields;
        fields.primary = server_name();
        const auto mailbox = Name::join({"hostmaster"}, config_.domain);
        if (mailbox) fields.mailbox = *mailbox;
        fields.serial = snapshot_.serial;
        fields.refresh = kSoaRefresh;
        fields.retry = kSoaRetry;
        fields.expire = kSoaExpire;
        fields.minimum = kTtlSeconds;
        return soa_record(zone, fields, kTtlSeconds);
    }

    Name server_name() const {
        auto name = Name::join({"ns", "dns"}, config_.domain);
        return name ? *name : config_.domain;
    }

    const Snapshot& snapshot_;
    const ZoneConfig& config_;
    const std::uint16_t type_;
    const std::uint32_t rotation_;
    const std::size_t max_records_;
    Name name_;  // the one looked at: the question's, then those of aliases
    std::optional<Name> alias_;
    bool data_ = false;  // there is a record of the type asked for
    Answer answer_;
};

}  // namespace

Answer resolve(const Snapshot& snapshot, const ZoneConfig& config, const Question& question,
               std::uint32_t rotation, std::size_t limit) {
    return Lookup(snapshot, config, question, rotation, limit).run();
}

}  // namespace sluice::dns
