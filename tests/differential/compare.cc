#include "tests/differential/compare.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "dataplane/image/drop_reasons.h"
#include "dataplane/image/frontends.h"
#include "dataplane/image/reader.h"

namespace sluice::differential {
namespace {

constexpr const char* kVerdicts[] = {"to the stack", "sent", "dropped"};

// Without what pads the frame behind the packet.
View trimmed(View packet) {
    std::size_t length = packet.size();
    if (packet.size() >= 20 && packet[0] / 16 == 4 && oracle::get16(packet, 2) >= 20) {
        length = oracle::get16(packet, 2);
    } else if (packet.size() >= 40 && packet[0] / 16 == 6) {
        length = 40 + oracle::get16(packet, 4);
    }
    return packet.first(std::min(length, packet.size()));
}

bool same(View a, View b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0; }

std::string hex(View bytes) {
    std::string out;
    constexpr std::size_t kShown = 160;
    for (std::size_t i = 0; i < std::min(bytes.size(), kShown); ++i) {
        out += i % 32 == 0 ? fmt::format("\n      {:04x} ", i) : "";
        out += fmt::format("{}{:02x}", i % 2 == 0 ? " " : "", bytes[i]);
    }
    return out;
}

// The node's own packets leave: the stack has seen them, and who does not touch one lets it go.
oracle::Verdict seen_from(Place place, oracle::Verdict verdict) {
    return place == Place::kKernel && verdict == oracle::Verdict::kStack ? oracle::Verdict::kSend : verdict;
}

}  // namespace

void Comparison::begin(const Generator& generator) {
    oracle_ = std::make_unique<oracle::Oracle>(generator.world());
    backends_.clear();
    services_.clear();
    changes_ = 0;
    for (Side* side : sides_) {
        const bool other = canary_ != nullptr && canary_->other_choices && side == sides_.back();
        side->begin(generator.world(), generator.random_state() ^ (other ? 0xff00U : 0U));
    }
}

std::optional<Mismatch> Comparison::run(std::uint64_t seed, std::size_t packets, const Damage& damage) {
    Generator generator(seed);
    begin(generator);
    steps_.clear();
    for (std::size_t done = 0; done < packets;) {
        steps_.push_back(generator.next());
        if (damage && steps_.back().kind == Step::Kind::kFrame) {
            damage(steps_.back());
        }
        if (auto what = take(steps_.back())) {
            return Mismatch{steps_.size() - 1, *what};
        }
        if (steps_.back().kind == Step::Kind::kFrame) {
            generator.learn(last_);
            ++done;
        }
    }
    totals_.flows += oracle_->flows() / 2;
    if (auto what = compare_counters()) {
        return Mismatch{steps_.size(), *what};
    }
    return std::nullopt;
}

std::optional<Mismatch> Comparison::replay(std::uint64_t seed, const std::vector<Step>& steps) {
    begin(Generator(seed));
    for (std::size_t i = 0; i < steps.size(); ++i) {
        if (auto what = take(steps[i])) {
            return Mismatch{i, *what};
        }
    }
    if (auto what = compare_counters()) {
        return Mismatch{steps.size(), *what};
    }
    return std::nullopt;
}

std::optional<std::string> Comparison::take(const Step& step) {
    const bool wrong = canary_ != nullptr;
    switch (step.kind) {
        case Step::Kind::kTime:
            oracle_->pass(step.ticks, step.affinity_units);
            for (Side* side : sides_) {
                if (!wrong || side != sides_.back() || !canary_->time_stands) {
                    side->pass(step.ticks, step.affinity_units);
                }
            }
            return std::nullopt;
        case Step::Kind::kUpsert:
            ++changes_;
            oracle_->upsert(step.service);
            for (Side* side : sides_) {
                if (!wrong || side != sides_.back() || !canary_->misses_changes || changes_ % 4 != 0) {
                    side->upsert(step.service);
                }
            }
            note_lives(step.service.key);
            return std::nullopt;
        case Step::Kind::kRemove:
            oracle_->remove(step.key);
            for (Side* side : sides_) {
                side->remove(step.key);
            }
            return std::nullopt;
        case Step::Kind::kFrame: break;
    }
    return take_frame(step);
}

std::optional<std::string> Comparison::take_frame(const Step& step) {
    std::vector<Outcome> outcomes;
    for (Side* side : sides_) {
        outcomes.push_back(side->run(step));
        if (canary_ != nullptr && side == sides_.back()) {
            if (canary_->outcome != nullptr) {
                canary_->outcome(step, outcomes.back(), room_);
            }
            if (canary_->tables != nullptr) {
                canary_->tables(step, side->tables());
            }
        }
    }
    const Side* chooser = sides_.front();
    const oracle::Answer answer = oracle_->judge(
        step.place, step.frame, [chooser](const Tuple& tuple) { return chooser->flow(tuple); });
    if (!answer.illegal.empty()) {
        return fmt::format("{}: {}", chooser->name(), answer.illegal);
    }
    const auto expected = seen_from(step.place, answer.verdict);
    const View wanted = trimmed(answer.packet);
    for (std::size_t i = 0; i < sides_.size(); ++i) {
        const auto verdict = seen_from(step.place, outcomes[i].verdict);
        const View got = trimmed(outcomes[i].packet);
        if (verdict != expected) {
            return fmt::format("{}: {}, expected {}: got{}\n    expected{}", sides_[i]->name(),
                               kVerdicts[static_cast<int>(verdict)], kVerdicts[static_cast<int>(expected)], hex(got),
                               hex(wanted));
        }
        if (verdict != oracle::Verdict::kDrop && !same(got, wanted)) {
            return fmt::format("{}: other bytes: got{}\n    expected{}", sides_[i]->name(), hex(got), hex(wanted));
        }
        for (std::uint32_t reason = 1; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
            if (sides_[i]->drop_row()[reason] != oracle_->drops(reason)) {
                return fmt::format("{}: {} dropped as {}, expected {}", sides_[i]->name(),
                                   sides_[i]->drop_row()[reason], image::drop_name(reason), oracle_->drops(reason));
            }
        }
    }
    last_.assign(wanted.begin(), wanted.end());
    ++totals_.packets;
    ++(expected == oracle::Verdict::kSend    ? totals_.sent
       : expected == oracle::Verdict::kStack ? totals_.stack
                                             : totals_.dropped);
    return std::nullopt;
}

void Comparison::note_lives(const image::ServiceKey& key) {
    const image::Tables& tables = sides_.front()->tables();
    const auto service = oracle_->service(key);
    const std::string name = key.display();
    for (std::uint32_t i = 0; i < tables.header->service_capacity; ++i) {
        const sluice_service& record = tables.services[i];
        if ((record.flags & SLUICE_SERVICE_IN_USE) == 0 || image::read_name(tables, record.name) != name ||
            record.protocol != static_cast<std::uint8_t>(key.protocol) ||
            record.family != static_cast<std::uint8_t>(key.family)) {
            continue;
        }
        services_[i] = service;
        for (std::uint32_t j = 0; j < tables.header->backend_capacity; ++j) {
            const sluice_backend& backend = tables.backends[j];
            if (backend.incarnation % 2 == 1 && backend.service == i) {
                const auto port = static_cast<std::uint16_t>(backend.port_be >> 8U | backend.port_be << 8U);
                backends_[j] = service->backends.at({image::address_of(backend.address), port});
            }
        }
    }
}

std::optional<std::string> Comparison::compare_counters() {
    for (std::uint32_t reason = 1; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
        totals_.reasons[reason] += oracle_->drops(reason);
    }
    for (Side* side : sides_) {
        for (const auto& [index, life] : backends_) {
            const sluice_backend_counters served = image::sum_served(side->tables(), index);
            const oracle::Served got{served.connections, served.packets, served.bytes};
            if (got != life->served) {
                return fmt::format("{}: backend [{}]:{} was given {} connections, {} packets, {} bytes; expected {}, "
                                   "{}, {}",
                                   side->name(), life->backend.address.to_string(), life->backend.port,
                                   got.connections, got.packets, got.bytes, life->served.connections,
                                   life->served.packets, life->served.bytes);
            }
        }
        for (const auto& [index, life] : services_) {
            const std::uint64_t refused = side->tables().counters[index].refused;
            if (refused != life->refused) {
                return fmt::format("{}: service {} refused {}, expected {}", side->name(),
                                   life->desired.key.display(), refused, life->refused);
            }
        }
    }
    return std::nullopt;
}

std::vector<Step> Comparison::minimise(std::uint64_t seed, std::vector<Step> steps, std::size_t tries) {
    std::size_t chunk = std::max<std::size_t>(steps.size() / 2, 1);
    while (tries > 0) {
        bool shorter = false;
        for (std::size_t from = 0; from < steps.size() && tries > 0;) {
            std::vector<Step> fewer = steps;
            const auto first = fewer.begin() + static_cast<std::ptrdiff_t>(from);
            fewer.erase(first, fewer.begin() + static_cast<std::ptrdiff_t>(std::min(from + chunk, fewer.size())));
            --tries;
            const auto mismatch = replay(seed, fewer);
            if (mismatch) {
                if (mismatch->step + 1 < fewer.size()) {
                    fewer.resize(mismatch->step + 1);
                }
                steps = std::move(fewer);
                shorter = true;
            } else {
                from += chunk;
            }
        }
        if (chunk == 1 && !shorter) {
            break;
        }
        chunk = std::max<std::size_t>(chunk / 2, 1);
    }
    return steps;
}

std::string report(std::uint64_t seed, const std::vector<Step>& steps, const Mismatch& mismatch) {
    std::string out = fmt::format("seed {}: step {} of {}: {}\n", seed, mismatch.step, steps.size(), mismatch.what);
    const oracle::World world = Generator(seed).world();
    const image::Node& node = world.node;
    out += fmt::format("  node: {}{}{}{}{}source ports {}-{}\n", node.detect_by_device ? "pods by device, " : "",
                       node.cluster_cidrs.empty() ? "" : "pods by range, ",
                       node.masquerade_all ? "masquerade all, " : "",
                       node.beside_kube_proxy ? "beside kube-proxy, " : "",
                       node.masquerade_v4.is_unspecified() ? "no address, " : "", world.port_min, world.port_max);
    for (std::size_t i = 0; i < steps.size(); ++i) {
        out += fmt::format("  {:3} {}\n", i, describe(steps[i]));
    }
    return out;
}

}  // namespace sluice::differential
