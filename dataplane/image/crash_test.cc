// kill -9 at any instant of a publication. A child process changes an image in shared memory and is
// stepped through the change one instruction at a time. What the memory holds at an instruction is
// what a kill there leaves: it is what packets go on seeing, and what the next agent starts from.
// Every content that there is between two instructions is judged, and some of the instants are real
// kills. Nothing in the publisher knows of this.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <random>

#include "dataplane/image/test_image.h"

namespace sluice::image {
namespace {

// Real kills in each change that is tried; eight changes.
constexpr std::uint64_t kKills = 5;

// A change has some ten thousand instructions; more than so many is a loop without end.
constexpr std::uint64_t kBeyondAll = 3'000'000;

// The tables one after another in memory that a child shares.
class SharedImage {
public:
    explicit SharedImage(const Capacities& capacities) : capacities_(capacities) {
        const auto specs = table_specs(capacities);
        for (const TableSpec& spec : specs) {
            bytes_ += aligned(spec);
        }
        // A page that cannot be touched follows: a store outside the tables ends the child.
        const std::size_t page = 4096;
        bytes_ = (bytes_ + page - 1) / page * page;
        base_ = static_cast<char*>(mmap(nullptr, bytes_ + page, PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        SLUICE_ASSERT(base_ != MAP_FAILED);
        SLUICE_ASSERT(mprotect(base_ + bytes_, page, PROT_NONE) == 0);
        std::array<void*, kTableCount> addresses{};
        char* next = base_;
        for (std::size_t i = 0; i < kTableCount; ++i) {
            addresses[i] = next;
            next += aligned(specs[i]);
        }
        tables_ = Tables::at(addresses);
    }
    SharedImage(const SharedImage&) = delete;
    SharedImage& operator=(const SharedImage&) = delete;
    ~SharedImage() { munmap(base_, bytes_ + 4096); }

    [[nodiscard]] const Tables& tables() const { return tables_; }
    [[nodiscard]] const Capacities& capacities() const { return capacities_; }
    [[nodiscard]] bool holds(const std::vector<char>& saved) const {
        return std::memcmp(base_, saved.data(), bytes_) == 0;
    }
    [[nodiscard]] std::vector<char> save() const { return {base_, base_ + bytes_}; }
    void restore(const std::vector<char>& saved) { std::memcpy(base_, saved.data(), bytes_); }

private:
    static std::size_t aligned(const TableSpec& spec) {
        return (std::size_t{spec.value_size} * spec.entries + 63) / 64 * 64;
    }
    Capacities capacities_;
    std::size_t bytes_ = 0;
    char* base_ = nullptr;
    Tables tables_;
};

Capacities capacities() {
    Capacities out;
    out.buckets = 16;
    out.frontends = 64;
    out.services = 16;
    out.set_slots = 128;
    out.backends = 64;
    out.name_bytes = 4096;
    out.ring_lines = 512;
    out.ranges = 32;
    return out;
}

// One destination, asked by a client from outside and by one from inside.
struct Probe {
    std::string address;
    std::uint16_t port;
};

// What packets see at a destination. Each line is one thing that changes as a whole.
struct Sight {
    std::string verdict;  // with the set, and the ring's choice for some points
    std::string flags;
    std::string sources;
    auto operator<=>(const Sight&) const = default;
};

Sight look(const Tables& tables, const Probe& probe, bool inside) {
    const sluice_view view = view_of(tables);
    sluice_frontend_key key{image_address(ip(probe.address)), htons(probe.port), 6,
                            SLUICE_SCOPE_ADDRESS};
    const bool perhaps = sluice_may_be_ours(&view, &key.address) != 0;
    sluice_match match{};
    sluice_classify(&view, &key, inside ? 1 : 0, &match);
    EXPECT_TRUE(perhaps || match.verdict == SLUICE_VERDICT_PASS) << "hidden by the filter";
    Sight out;
    out.verdict = fmt::format("{}/{}", match.verdict, match.reason);
    if (!match.has_service) {
        return out;
    }
    out.flags = fmt::format("{:x}", match.frontend_flags);
    for (std::uint32_t i = 0; i < sluice_word_count(match.sources); ++i) {
        const sluice_range* range = sluice_view_range(&view, sluice_word_first(match.sources) + i);
        EXPECT_NE(range, nullptr) << "ranges outside their table";
        if (range == nullptr) break;
        out.sources +=
            address_of(range->first).to_string() + "-" + address_of(range->last).to_string() + " ";
    }
    if (match.verdict != SLUICE_VERDICT_TRANSLATE) {
        return out;
    }
    out.verdict += " " + read_name(tables, tables.services[match.service].name) + ":";
    const auto members = read_set(tables, match.word);
    EXPECT_EQ(members.size(), sluice_word_count(match.word)) << "a set that leaves its table";
    for (const sluice_backend& member : members) {
        out.verdict +=
            fmt::format(" {}:{}", address_of(member.address).to_string(), ntohs(member.port_be));
    }
    out.verdict += fmt::format(" by {:x}:", sluice_hash_kind(&view, match.word));
    for (std::uint32_t point = 0; match.word & SLUICE_WORD_RING && point < 64; ++point) {
        sluice_selection selection{};
        EXPECT_EQ(sluice_select(&view, match.word, point << 26U, &selection), 1)
            << "a place of a ring leads nowhere";
        out.verdict += fmt::format(" {}", address_of(selection.address).to_string());
    }
    return out;
}

// A backend that flows may remember: where its (index, incarnation) leads.
using Places = std::map<std::pair<std::uint32_t, std::uint32_t>, std::string>;

// Adds what serves now; false if an (index, incarnation) has come to stand for another place.
bool remember(const Tables& tables, Places& places) {
    for (std::uint32_t i = 0; i < tables.header->backend_capacity; ++i) {
        const sluice_backend& backend = tables.backends[i];
        if (backend.incarnation % 2 == 0) continue;
        const std::string place =
            fmt::format("{}:{} of {}", address_of(backend.address).to_string(),
                        ntohs(backend.port_be), backend.service);
        const auto known = places.try_emplace({i, backend.incarnation}, place).first;
        if (known->second != place) {
            ADD_FAILURE() << "backend " << i << " incarnation " << backend.incarnation << " was "
                          << known->second << " and is " << place;
            return false;
        }
    }
    return true;
}

Node node_with(std::vector<IpAddress> addresses) {
    Node out;
    out.nodeport_addresses = std::move(addresses);
    out.service_cidrs = {IpPrefix::parse("10.96.0.0/16").value()};
    return out;
}

// Runs `change` in a child, single-stepped, and calls `look` after each instruction; kills it after
// `steps` of them. Returns how many there were if it came to its end before, else nothing.
// Negative: the child died of something else.
std::optional<std::int64_t> run_stepped(const std::function<void()>& change, std::uint64_t steps,
                                        const std::function<void(std::uint64_t)>& look) {
    const pid_t child = fork();
    SLUICE_ASSERT(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(77);
        raise(SIGSTOP);
        change();
        _exit(0);
    }
    int status = 0;
    SLUICE_ASSERT(waitpid(child, &status, 0) == child);
    if (!WIFSTOPPED(status)) {
        return -1;
    }
    for (std::uint64_t step = 0; step < steps; ++step) {
        SLUICE_ASSERT(ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0);
        SLUICE_ASSERT(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            return static_cast<std::int64_t>(step);
        }
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return -1;
        }
        look(step);
    }
    kill(child, SIGKILL);
    SLUICE_ASSERT(waitpid(child, &status, 0) == child);
    return std::nullopt;
}

struct State {
    Node node;
    std::map<ServiceKey, Service> services;
};

class CrashTest : public testing::Test {
protected:
    CrashTest() {
        const char* given = std::getenv("SLUICE_SEED");
        seed_ = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
        std::printf("SLUICE_SEED=%llu\n", static_cast<unsigned long long>(seed_));
        random_.seed(seed_);
        former_.node = node_with({ip("192.0.2.1")});
        auto one =
            service(1, {backend(1), backend(2), backend(3)},
                    {cluster_ip("10.96.0.1"), external_ip("198.51.100.1"), node_port(30080)});
        one.choice = Choice::kTuple;
        one.sources = {{ip("203.0.113.0"), ip("203.0.113.9")}};
        for (Frontend& frontend : one.frontends) frontend.restricted = frontend.external;
        add(one);
        add(service(2, {backend(1), backend(4)},
                    {cluster_ip("10.96.0.2"), external_ip("198.51.100.2")}));
        add(service(3, {backend(5)}, {cluster_ip("10.96.0.3"), external_ip("198.51.100.2")}));
    }
    void add(const Service& service) { former_.services.insert_or_assign(service.key, service); }
    Service& of(State& state, int number) { return state.services.at(service(number, {}, {}).key); }

    // Tries the change from former_ to `next`, which `change` makes.
    void sweep(const State& next, const std::function<void(Publisher&)>& change) {
        SharedImage image(capacities());
        ASSERT_TRUE(write_header(image.tables(), image.capacities(),
                                 HeaderFacts{former_.node, 1024, 29999, random_()}, 2));
        Publisher publisher(image.tables(), Carried{});
        ASSERT_TRUE(publisher.set_node_addresses(former_.node.nodeport_addresses));
        // Some history, so that indices and lines are used again.
        for (int round = 0; round < 3; ++round) {
            const auto passing =
                service(9, {backend(20 + round), backend(30)}, {cluster_ip("10.96.0.9")});
            ASSERT_TRUE(publisher.upsert(passing));
            ASSERT_TRUE(publisher.remove(passing.key));
            publisher.release(publisher.take_retired());
        }
        for (const auto& [key, each] : former_.services) ASSERT_TRUE(publisher.upsert(each));
        publisher.release(publisher.take_retired());
        Places places;
        ASSERT_TRUE(remember(image.tables(), places));
        const std::vector<char> before = image.save();
        const auto old_sights = sights(image.tables());
        // The whole change first, unobserved, for its outcome.
        const auto whole =
            run_stepped([&] { change(publisher); }, kBeyondAll, [](std::uint64_t) {});
        if (whole && *whole < 0) GTEST_SKIP() << "SKIP: processes cannot be traced here";
        ASSERT_TRUE(whole) << "a change of more than " << kBeyondAll << " instructions";
        const auto instructions = static_cast<std::uint64_t>(*whole);
        const auto new_sights = sights(image.tables());
        ASSERT_NE(old_sights, new_sights) << "the change changes nothing";
        const auto judge = [&](std::uint64_t k) {
            if (HasFailure()) return;
            SCOPED_TRACE(
                fmt::format("seed {}, killed after {} of {} instructions", seed_, k, instructions));
            const auto seen = sights(image.tables());
            for (std::size_t i = 0; i < seen.size(); ++i) {
                expect_either(seen[i], old_sights[i], new_sights[i], kProbes[i / 2]);
            }
            take_over(image, next, new_sights, places);
        };
        image.restore(before);
        std::vector<char> last = before;
        std::size_t contents = 0;
        run_stepped([&] { change(publisher); }, kBeyondAll,
                    [&](std::uint64_t k) {
                        if (!image.holds(last)) {
                            last = image.save();
                            ++contents;
                            judge(k);
                        }
                    });
        EXPECT_GT(contents, 5U);
        for (std::uint64_t i = 0; i < kKills && !HasFailure(); ++i) {
            image.restore(before);
            const std::uint64_t k = random_() % instructions;
            // Counts differ by a few between runs; then it came to its end, which is an instant as
            // well.
            const auto ended = run_stepped([&] { change(publisher); }, k, [](std::uint64_t) {});
            ASSERT_FALSE(ended && *ended < 0);
            judge(k);
        }
        std::printf("%llu instructions, %zu contents of the image\n",
                    static_cast<unsigned long long>(instructions), contents);
    }

private:
    static inline const std::vector<Probe> kProbes = {
        {"10.96.0.1", 80},    {"10.96.0.1", 443},   {"10.96.0.2", 80},    {"10.96.0.3", 80},
        {"10.96.0.4", 80},    {"10.96.0.4", 81},    {"10.96.0.77", 80},   {"198.51.100.1", 80},
        {"198.51.100.2", 80}, {"198.51.100.4", 80}, {"192.0.2.1", 30080}, {"192.0.2.2", 30080},
        {"192.0.2.1", 22},    {"198.51.100.3", 80}, {"10.96.0.2", 443},
    };

    static std::vector<Sight> sights(const Tables& tables) {
        std::vector<Sight> out;
        for (const Probe& probe : kProbes) {
            out.push_back(look(tables, probe, false));
            out.push_back(look(tables, probe, true));
        }
        return out;
    }
    static void expect_either(const Sight& seen, const Sight& before, const Sight& after,
                              const Probe& probe) {
        const auto either = [&](const std::string& a, const std::string& b, const std::string& c) {
            EXPECT_TRUE(a == b || a == c) << probe.address << " port " << probe.port << ": " << a
                                          << "\n  before: " << b << "\n  after: " << c;
        };
        either(seen.verdict, before.verdict, after.verdict);
        either(seen.flags, before.flags, after.flags);
        either(seen.sources, before.sources, after.sources);
    }
    // The next agent: a new image, what is carried over, and all that is desired.
    void take_over(const SharedImage& left, const State& next, const std::vector<Sight>& expected,
                   Places places) {
        ASSERT_TRUE(remember(left.tables(), places));
        const Carried carried = Carried::from(left.tables());
        SharedImage image(capacities());
        ASSERT_TRUE(write_header(image.tables(), image.capacities(),
                                 HeaderFacts{next.node, 1024, 29999, random_()},
                                 (carried.generation | 1U) + 1));
        EXPECT_GT(image.tables().header->generation, left.tables().header->generation);
        Publisher publisher(image.tables(), carried);
        ASSERT_TRUE(publisher.set_node_addresses(next.node.nodeport_addresses));
        for (const auto& [key, each] : next.services) ASSERT_TRUE(publisher.upsert(each));
        publisher.finish_carrying();
        const auto seen = sights(image.tables());
        for (std::size_t i = 0; i < seen.size(); ++i) {
            EXPECT_EQ(seen[i].verdict, expected[i].verdict) << kProbes[i / 2].address;
            EXPECT_EQ(seen[i].flags, expected[i].flags) << kProbes[i / 2].address;
            EXPECT_EQ(seen[i].sources, expected[i].sources) << kProbes[i / 2].address;
        }
        ASSERT_TRUE(remember(image.tables(), places)) << "in the successor";
        // And what is used again later.
        publisher.release(publisher.take_retired());
        for (int number = 60; number < 64; ++number) {
            ASSERT_TRUE(publisher.upsert(service(number, {backend(number)},
                                                 {cluster_ip(fmt::format("10.96.1.{}", number))})));
        }
        ASSERT_TRUE(remember(image.tables(), places)) << "after the successor";
    }

protected:
    State former_;
    std::mt19937_64 random_;

private:
    std::uint64_t seed_ = 0;
};

void must(Result<void> done) {
    SLUICE_ASSERT(done);
}

TEST_F(CrashTest, WhileANewHashedServiceWithSourceRangesIsPublished) {
    State next = former_;
    auto fresh = service(
        4, {backend(6), backend(7)},
        {cluster_ip("10.96.0.4"), cluster_ip("10.96.0.4", 81), external_ip("198.51.100.4")});
    fresh.choice = Choice::kClient;
    fresh.sources = {{ip("203.0.113.0"), ip("203.0.113.9")}};
    for (Frontend& frontend : fresh.frontends) frontend.restricted = frontend.external;
    next.services.insert_or_assign(fresh.key, fresh);
    sweep(next, [&](Publisher& publisher) { must(publisher.upsert(fresh)); });
}

TEST_F(CrashTest, WhileEndpointsAndWeightsOfAHashedServiceChange) {
    State next = former_;
    Service& one = of(next, 1);
    for (BackendSet* set : {&one.internal, &one.external, &one.inside}) {
        set->backends = {backend(2), backend(3), backend(8), backend(9)};
        set->backends[1].weight = 3;
    }
    sweep(next, [&](Publisher& publisher) { must(publisher.upsert(one)); });
}

TEST_F(CrashTest, WhileSetsThatWereSharedPart) {
    State next = former_;
    Service& two = of(next, 2);
    two.internal.backends.pop_back();
    two.external.backends = {backend(10), backend(11)};
    sweep(next, [&](Publisher& publisher) { must(publisher.upsert(two)); });
}

TEST_F(CrashTest, WhileAServiceStopsBeingExternal) {
    State next = former_;
    Service& one = of(next, 1);
    one.frontends = {cluster_ip("10.96.0.1"), cluster_ip("10.96.0.1", 443)};
    one.external = {};
    one.inside = {};
    one.sources.clear();
    one.choice = Choice::kRandom;
    sweep(next, [&](Publisher& publisher) { must(publisher.upsert(one)); });
}

TEST_F(CrashTest, WhileSourceRangesChange) {
    State next = former_;
    Service& one = of(next, 1);
    one.sources = {{ip("203.0.113.7"), ip("203.0.113.20")},
                   {ip("203.0.113.40"), ip("203.0.113.40")}};
    sweep(next, [&](Publisher& publisher) { must(publisher.upsert(one)); });
}

TEST_F(CrashTest, WhileTheLastEndpointGoes) {
    State next = former_;
    Service& one = of(next, 1);
    one.internal = {};
    one.external = BackendSet{{}, true};
    one.inside = {};
    sweep(next, [&](Publisher& publisher) { must(publisher.upsert(one)); });
}

TEST_F(CrashTest, WhileAServiceIsRemovedAndAnotherTakesItsAddress) {
    State next = former_;
    const ServiceKey gone = of(next, 2).key;
    next.services.erase(gone);
    sweep(next, [&](Publisher& publisher) { must(publisher.remove(gone)); });
}

TEST_F(CrashTest, WhileTheNodesAddressesChange) {
    State next = former_;
    next.node.nodeport_addresses = {ip("192.0.2.2"), ip("198.51.100.3")};
    sweep(next, [&](Publisher& publisher) {
        must(publisher.set_node_addresses(next.node.nodeport_addresses));
    });
}

}  // namespace
}  // namespace sluice::image
