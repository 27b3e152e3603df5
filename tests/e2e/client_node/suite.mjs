// The official JavaScript client against a cluster: `node suite.mjs CASE NAMESPACE` ends with 0 if the case holds.
// KUBECONFIG says which cluster. Cases of pods need one that is named "shell" and ready (test_client_node.py).
import assert from 'node:assert/strict';
import net from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import * as k8s from '@kubernetes/client-node';

const [, , wanted, namespace] = process.argv;
const config = new k8s.KubeConfig();
config.loadFromFile(process.env.KUBECONFIG);
const core = config.makeApiClient(k8s.CoreV1Api);

async function until(check, what, seconds = 20) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(20)) {
        const found = await check();
        if (found) return found;
    }
    throw new Error(`${what} did not come true in ${seconds} s`);
}

async function refusal(call) {
    try {
        await call;
    } catch (error) {
        return { code: error.code, status: typeof error.body === 'string' ? JSON.parse(error.body) : error.body };
    }
    throw new Error('it was not refused');
}

class Sink extends Writable {
    text = '';
    _write(chunk, _encoding, done) {
        this.text += chunk.toString();
        done();
    }
}

const map = (name, data = {}, labels = {}) => ({ metadata: { name, labels }, data });
const patched = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);

const cases = {
    async 'every verb'() {
        const made = await core.createNamespacedConfigMap({ namespace, body: map('a', { x: '1' }, { of: 'verbs' }) });
        assert.equal(made.data.x, '1');
        assert.ok(made.metadata.creationTimestamp instanceof Date);
        const read = await core.readNamespacedConfigMap({ name: 'a', namespace });
        assert.equal(read.metadata.uid, made.metadata.uid);
        read.data.x = '2';
        const replaced = await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: read });
        assert.notEqual(replaced.metadata.resourceVersion, made.metadata.resourceVersion);
        for (const [strategy, body, x] of [
            [k8s.PatchStrategy.MergePatch, { data: { x: '3' } }, '3'],
            [k8s.PatchStrategy.StrategicMergePatch, { data: { x: '4' } }, '4'],
            [k8s.PatchStrategy.JsonPatch, [{ op: 'replace', path: '/data/x', value: '5' }], '5'],
        ]) {
            const now = await core.patchNamespacedConfigMap({ name: 'a', namespace, body }, patched(strategy));
            assert.equal(now.data.x, x, strategy);
        }
        const applied = await core.patchNamespacedConfigMap(
            {
                name: 'a', namespace, fieldManager: 'suite', force: true,
                body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { x: '6' } },
            },
            patched(k8s.PatchStrategy.ServerSideApply),
        );
        assert.equal(applied.data.x, '6');
        assert.ok(applied.metadata.managedFields.some((one) => one.manager === 'suite' && one.operation === 'Apply'));
        await core.createNamespacedConfigMap({ namespace, body: map('b', {}, { of: 'verbs' }) });
        const first = await core.listNamespacedConfigMap({ namespace, labelSelector: 'of=verbs', limit: 1 });
        assert.deepEqual(first.items.map((one) => one.metadata.name), ['a']);
        const rest = await core.listNamespacedConfigMap({
            namespace, labelSelector: 'of=verbs', limit: 1, _continue: first.metadata._continue,
        });
        assert.deepEqual(rest.items.map((one) => one.metadata.name), ['b']);
        const gone = await core.deleteNamespacedConfigMap({ name: 'a', namespace });
        assert.equal(gone.status, 'Success');
        await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'of=verbs' });
        const none = await core.listNamespacedConfigMap({ namespace, labelSelector: 'of=verbs' });
        assert.equal(none.items.length, 0);
    },

    async 'errors are statuses'() {
        const missing = await refusal(core.readNamespacedConfigMap({ name: 'none', namespace }));
        assert.equal(missing.code, 404);
        assert.equal(missing.status.reason, 'NotFound');
        assert.equal(missing.status.message, 'configmaps "none" not found');
        await core.createNamespacedConfigMap({ namespace, body: map('twice') });
        const twice = await refusal(core.createNamespacedConfigMap({ namespace, body: map('twice') }));
        assert.deepEqual([twice.code, twice.status.reason], [409, 'AlreadyExists']);
        const wrong = await refusal(core.createNamespacedConfigMap({ namespace, body: map('Not A Name') }));
        assert.deepEqual([wrong.code, wrong.status.reason], [422, 'Invalid']);
        assert.equal(wrong.status.details.causes[0].field, 'metadata.name');
        const stale = await core.readNamespacedConfigMap({ name: 'twice', namespace });
        await core.replaceNamespacedConfigMap({ name: 'twice', namespace, body: { ...stale, data: { a: '1' } } });
        const late = await refusal(core.replaceNamespacedConfigMap({ name: 'twice', namespace, body: { ...stale, data: {} } }));
        assert.deepEqual([late.code, late.status.reason], [409, 'Conflict']);
    },

    async 'an informer follows and comes back'() {
        const path = `/api/v1/namespaces/${namespace}/configmaps`;
        const list = () => core.listNamespacedConfigMap({ namespace });
        await core.createNamespacedConfigMap({ namespace, body: map('before') });
        const informer = k8s.makeInformer(config, path, list);
        const events = [];
        for (const verb of ['add', 'update', 'delete']) {
            informer.on(verb, (object) => events.push(`${verb} ${object.metadata.name}`));
        }
        const errors = [];
        informer.on('error', (error) => errors.push(error));
        await informer.start();
        await until(() => informer.get('before', namespace), 'what was there is known');
        await core.createNamespacedConfigMap({ namespace, body: map('one', { x: '1' }) });
        await until(() => events.includes('add one'), 'the addition is seen');
        await core.patchNamespacedConfigMap({ name: 'one', namespace, body: { data: { x: '2' } } },
            patched(k8s.PatchStrategy.MergePatch));
        await until(() => informer.get('one', namespace)?.data.x === '2', 'the change is in the cache');
        // What happens while it looks away is known when it looks again.
        await informer.stop();
        await core.deleteNamespacedConfigMap({ name: 'one', namespace });
        await core.createNamespacedConfigMap({ namespace, body: map('two') });
        await informer.start();
        await until(() => informer.get('two', namespace) && !informer.get('one', namespace), 'it has caught up');
        await core.deleteNamespacedConfigMap({ name: 'two', namespace });
        await until(() => events.includes('delete two'), 'the deletion is seen');
        // Stopping is told as one, of its own making.
        assert.deepEqual(errors.map((error) => error.name), ['AbortError']);
        await informer.stop();
    },

    async 'watches resume, bookmark and expire'() {
        const path = `/api/v1/namespaces/${namespace}/configmaps`;
        const watch = new k8s.Watch(config);
        const start = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
        const collect = async (query, enough) => {
            const events = [];
            let over;
            const request = await watch.watch(path, query, (type, object) => events.push({ type, object }),
                (error) => { over = error ?? 'end'; });
            await until(() => enough(events) || over !== undefined, `events of ${JSON.stringify(query)}`);
            request.abort();
            return events;
        };
        for (const name of ['a', 'b', 'c']) await core.createNamespacedConfigMap({ namespace, body: map(name) });
        const names = (events) => events.filter((one) => one.type === 'ADDED').map((one) => one.object.metadata.name);
        const all = await collect({ resourceVersion: start }, (events) => names(events).includes('c'));
        assert.deepEqual(names(all).filter((name) => name.length === 1), ['a', 'b', 'c']);
        const after = all.find((one) => one.object.metadata.name === 'a').object.metadata.resourceVersion;
        const rest = await collect({ resourceVersion: after }, (events) => names(events).includes('c'));
        assert.deepEqual(names(rest), ['b', 'c']);
        const listed = await collect(
            { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan', allowWatchBookmarks: true },
            (events) => events.some((one) => one.object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true'));
        assert.ok(names(listed).includes('a') && names(listed).includes('c'));
        const future = await collect({ resourceVersion: '1', timeoutSeconds: 1 }, (events) => events.length > 0);
        assert.ok(future.length === 0 || ['ERROR', 'ADDED'].includes(future[0].type));
    },

    async 'objects of any kind'() {
        const group = `${namespace}.example.com`;
        const any = k8s.KubernetesObjectApi.makeApiClient(config);
        await any.create({
            apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `walkers.${group}` },
            spec: {
                group, scope: 'Namespaced', names: { plural: 'walkers', singular: 'walker', kind: 'Walker' },
                versions: [{
                    name: 'v1', served: true, storage: true, subresources: { status: {} },
                    schema: { openAPIV3Schema: { type: 'object', x_kubernetes_preserve_unknown_fields: true } },
                }],
            },
        });
        const walker = { apiVersion: `${group}/v1`, kind: 'Walker', metadata: { name: 'w', namespace }, pace: 1 };
        await until(() => any.create(walker).then(() => true, () => false), 'the kind is served');
        const read = await any.read(walker);
        assert.equal(read.pace, 1, JSON.stringify(read));
        const changed = await any.patch({ ...walker, pace: 2 }, undefined, undefined, undefined, undefined,
            k8s.PatchStrategy.MergePatch);
        assert.equal(changed.pace, 2);
        const custom = config.makeApiClient(k8s.CustomObjectsApi);
        const listed = await custom.listNamespacedCustomObject({ group, version: 'v1', namespace, plural: 'walkers' });
        assert.equal(listed.items.length, 1);
        const deployment = {
            apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd', namespace },
            spec: {
                replicas: 1, paused: true, selector: { matchLabels: { a: 'b' } },
                template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
            },
        };
        await any.create(deployment);
        const scale = await config.makeApiClient(k8s.AppsV1Api).readNamespacedDeploymentScale({ name: 'd', namespace });
        assert.equal(scale.spec.replicas, 1);
        const list = await any.list('apps/v1', 'Deployment', namespace);
        assert.equal(list.items[0].metadata.name, 'd');
        await any.delete(walker);
        assert.equal((await refusal(any.read(walker))).code, 404);
    },

    async 'who one is and may be'() {
        const review = await config.makeApiClient(k8s.AuthorizationV1Api).createSelfSubjectAccessReview({
            body: { spec: { resourceAttributes: { verb: 'delete', resource: 'pods', namespace } } },
        });
        assert.equal(review.status.allowed, true);
        await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'robot' } } });
        const request = await core.createNamespacedServiceAccountToken({
            name: 'robot', namespace, body: { spec: { expirationSeconds: 600, audiences: [] } },
        });
        assert.ok(request.status.expirationTimestamp instanceof Date);
        const robot = new k8s.KubeConfig();
        const cluster = config.getCurrentCluster();
        robot.loadFromClusterAndUser(cluster, { name: 'robot', token: request.status.token });
        const self = await robot.makeApiClient(k8s.AuthenticationV1Api).createSelfSubjectReview({ body: {} });
        assert.equal(self.status.userInfo.username, `system:serviceaccount:${namespace}:robot`);
        const robots = robot.makeApiClient(k8s.CoreV1Api);
        assert.equal((await refusal(robots.listNamespacedPod({ namespace }))).code, 403);
        const roles = config.makeApiClient(k8s.RbacAuthorizationV1Api);
        await roles.createNamespacedRoleBinding({
            namespace,
            body: {
                metadata: { name: 'robot-views' },
                roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
                subjects: [{ kind: 'ServiceAccount', name: 'robot', namespace }],
            },
        });
        await until(() => robots.listNamespacedPod({ namespace }).then(() => true, () => false), 'the role holds');
    },

    async 'version, health and discovery'() {
        const version = await config.makeApiClient(k8s.VersionApi).getCode();
        assert.match(version.gitVersion, /^v1\.\d+/);
        assert.equal(await new k8s.Health(config).readyz({}), true);
        assert.equal(await new k8s.Health(config).livez({}), true);
        const groups = await config.makeApiClient(k8s.ApisApi).getAPIVersions();
        assert.ok(groups.groups.some((one) => one.name === 'apps' && one.preferredVersion.version === 'v1'));
        const resources = await core.getAPIResources();
        assert.ok(resources.resources.some((one) => one.name === 'pods/exec' && one.kind === 'PodExecOptions'));
    },

    async 'exec, attach, log and port-forward'() {
        const exec = new k8s.Exec(config);
        // The client ends the streams with the command.
        const run = (command, input = null) => new Promise((resolve, reject) => {
            const out = new Sink(), err = new Sink();
            const over = (status) => resolve({ status, out: out.text, err: err.text });
            exec.exec(namespace, 'shell', 'one', command, out, err, input, false, over).catch(reject);
        });
        const done = await run(['sh', '-c', 'echo out; echo err >&2']);
        assert.deepEqual([done.status.status, done.out, done.err], ['Success', 'out\n', 'err\n']);
        const failed = (await run(['sh', '-c', 'exit 7'])).status;
        assert.equal(failed.status, 'Failure');
        assert.equal(failed.details.causes.find((one) => one.reason === 'ExitCode').message, '7');
        const input = new PassThrough();
        const echoed = run(['head', '-n', '1'], input);
        input.write('by stdin\n');
        const { status, out } = await echoed;
        assert.deepEqual([status.status, out], ['Success', 'by stdin\n']);

        const seen = new Sink();
        const attached = await new k8s.Attach(config).attach(namespace, 'shell', 'one', seen, new Sink(), null, false);
        await until(() => seen.text.includes('tick'), 'its output comes');
        attached.close();

        const log = new Sink();
        const logging = await new k8s.Log(config).log(namespace, 'shell', 'one', log, { follow: true, tailLines: 5 });
        await until(() => log.text.includes('tick'), 'its log comes');
        logging.abort();

        const forward = new k8s.PortForward(config);
        const server = net.createServer((socket) => {
            forward.portForward(namespace, 'shell', [8080], socket, null, socket).catch(() => socket.destroy());
        });
        await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
        const answer = await fetch(`http://127.0.0.1:${server.address().port}/`);
        assert.match(await answer.text(), /hello from web/);
        server.close();
    },
};

if (!cases[wanted]) {
    console.error(`no case ${wanted}; there are: ${Object.keys(cases).join('; ')}`);
    process.exit(2);
}
await cases[wanted]();
process.exit(0);
