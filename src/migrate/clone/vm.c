/* vm.c - the running VM of a clone, and the one that `clone run` started.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/vm.h"
#include "domain/domain.h"
#include "migrate/clone/start.h"
#include "migrate/clone/qmp.h"
#include "util/json.h"

#include <glib/gstdio.h>
#include <sys/un.h>
#include <unistd.h>

H2kCloneVm *
h2k_clone_vm_find (const H2kClone *clone, gboolean watching, GError **error)
{
  g_autofree char *image = h2k_clone_image (clone, 0, 0);
  g_autofree char *users = NULL;
  g_autoptr (GError) local = NULL;
  H2kCloneVm *vm;

  if (h2k_clone_use (clone) != H2K_IMAGE_WRITTEN)
    return NULL;
  if ((vm = h2k_clone_vm_of_qemu (clone, watching, NULL)) != NULL
      || (vm = h2k_clone_vm_of_libvirt (clone, watching, &local)) != NULL)
    return vm;
  users = h2k_file_users (image);
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
               "the clone %s is run by something that cannot be spoken to from here%s%s%s%s",
               clone->name, users ? ": " : "", users ? users : "", local ? "; " : "",
               local ? local->message : "");
  return NULL;
}

void
h2k_clone_vm_free (H2kCloneVm *vm)
{
  if (vm)
    vm->ops->free (vm);
}

/* --- QEMU of its own -------------------------------------------------------------------------- */

typedef struct
{
  H2kCloneVm vm;
  char *path;
  H2kQmp *qmp; /* NULL: there is a connection for each command, since others want one, too */
} QemuVm;

char *
h2k_clone_vm_socket (const H2kClone *clone, const char *name)
{
  g_autofree char *path = g_build_filename (clone->dir, name, NULL);
  g_autofree char *dir = NULL;
  g_autofree char *file = NULL;
  g_autofree char *uuid = NULL;
  g_autoptr (H2kDomain) machine = NULL;

  if (strlen (path) < sizeof ((struct sockaddr_un *)NULL)->sun_path)
    return g_steal_pointer (&path);
  /* QEMU cannot have a socket there: names of sockets are short. */
  machine = h2k_clone_machine (clone);
  uuid = h2k_domain_get_uuid (machine);
  dir = geteuid () == 0 ? g_strdup ("/run/hyper2kvm")
                        : g_build_filename (g_get_user_runtime_dir (), "hyper2kvm", NULL);
  g_mkdir_with_parents (dir, 0700);
  file = g_strdup_printf ("%s-%s", uuid, name);
  return g_build_filename (dir, file, NULL);
}

static JsonNode *
run (QemuVm *vm, const char *command, JsonObject *arguments, GError **error)
{
  g_autoptr (H2kQmp) own = vm->qmp ? NULL : h2k_qmp_open (vm->path, error);
  H2kQmp *qmp = vm->qmp ? vm->qmp : own;

  if (qmp)
    return h2k_qmp_run (qmp, command, arguments, error);
  g_clear_pointer (&arguments, json_object_unref);
  return NULL;
}

static gboolean
run_plain (H2kCloneVm *vm, const char *command, GError **error)
{
  g_autoptr (JsonNode) answer = run ((QemuVm *)vm, command, NULL, error);

  return answer != NULL;
}

static char *
qemu_where (H2kCloneVm *vm)
{
  return g_strdup_printf ("clone run (%s)", ((QemuVm *)vm)->path);
}

static H2kVmState
qemu_state (H2kCloneVm *vm)
{
  g_autoptr (JsonNode) answer = run ((QemuVm *)vm, "query-status", NULL, NULL);

  if (!answer || !JSON_NODE_HOLDS_OBJECT (answer))
    return H2K_VM_GONE;
  return h2k_json_flag (json_node_get_object (answer), "running") ? H2K_VM_RUNNING : H2K_VM_PAUSED;
}

static gboolean
qemu_pause (H2kCloneVm *vm, GError **error)
{
  return run_plain (vm, "stop", error);
}

static gboolean
qemu_resume (H2kCloneVm *vm, GError **error)
{
  return run_plain (vm, "cont", error);
}

static gboolean
qemu_shutdown (H2kCloneVm *vm, GError **error)
{
  return run_plain (vm, "system_powerdown", error);
}

static gboolean
qemu_destroy (H2kCloneVm *vm, GError **error)
{
  return run_plain (vm, "quit", error);
}

/* The name of the node that writes to the file IMAGE, NODES'; NULL: there is none. */
static const char *
node_of (JsonNode *nodes, const char *image)
{
  JsonArray *array = JSON_NODE_HOLDS_ARRAY (nodes) ? json_node_get_array (nodes) : NULL;
  JsonObject *node;

  for (guint i = 0; (node = h2k_json_element (array, i)) != NULL; i++)
    if (!h2k_json_flag (node, "ro") && g_strcmp0 (h2k_json_string (node, "drv"), "file") == 0
        && g_strcmp0 (h2k_json_string (node, "file"), image) == 0)
      return h2k_json_string (node, "node-name");
  return NULL;
}

static gboolean
qemu_set_threshold (H2kCloneVm *vm, const char *image, guint64 offset, GError **error)
{
  JsonObject *flat = json_object_new (), *arguments;
  g_autoptr (JsonNode) nodes = NULL;
  g_autoptr (JsonNode) answer = NULL;
  const char *name;

  json_object_set_boolean_member (flat, "flat", TRUE);
  nodes = run ((QemuVm *)vm, "query-named-block-nodes", flat, error);
  if (!nodes)
    return FALSE;
  if (!(name = node_of (nodes, image)))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "QEMU has no disk %s", image);
      return FALSE;
    }
  arguments = json_object_new ();
  json_object_set_string_member (arguments, "node-name", name);
  json_object_set_int_member (arguments, "write-threshold",
                              (gint64)MIN (offset, (guint64)G_MAXINT64));
  answer = run ((QemuVm *)vm, "block-set-write-threshold", arguments, error);
  return answer != NULL;
}

static void
qemu_free (H2kCloneVm *vm)
{
  QemuVm *own = (QemuVm *)vm;

  g_clear_pointer (&own->qmp, h2k_qmp_free);
  g_free (own->path);
  g_free (own);
}

static const H2kCloneVmOps qemu_ops = {
    .where = qemu_where,
    .state = qemu_state,
    .pause = qemu_pause,
    .resume = qemu_resume,
    .shutdown = qemu_shutdown,
    .destroy = qemu_destroy,
    .set_threshold = qemu_set_threshold,
    .free = qemu_free,
};

H2kCloneVm *
h2k_clone_vm_of_qemu (const H2kClone *clone, gboolean watching, GError **error)
{
  QemuVm *vm = g_new0 (QemuVm, 1);
  g_autofree char *events = watching ? h2k_clone_vm_socket (clone, H2K_CLONE_SOCKET_WATCH) : NULL;

  vm->vm.ops = &qemu_ops;
  vm->vm.fd = -1;
  vm->path = h2k_clone_vm_socket (clone, H2K_CLONE_SOCKET_QMP);
  if (events && (vm->qmp = h2k_qmp_open (events, NULL)) != NULL)
    vm->vm.fd = h2k_qmp_fd (vm->qmp);
  /* Somebody else may have the events: then there is nothing to wake us, and all else works. */
  if (vm->qmp || qemu_state (&vm->vm) != H2K_VM_GONE)
    return &vm->vm;
  qemu_free (&vm->vm);
  return NULL;
}

void
h2k_clone_vm_drain (H2kCloneVm *vm)
{
  QemuVm *own = (QemuVm *)vm;

  if (vm->ops != &qemu_ops || !own->qmp || h2k_qmp_drain (own->qmp))
    return;
  g_clear_pointer (&own->qmp, h2k_qmp_free);
  vm->fd = -1;
}
