"""Every route that is no repository's, in one place."""

from starlette.routing import Router

from entrepot.web.account import AccountPages
from entrepot.web.address import Routes
from entrepot.web.api_v1 import ApiV1
from entrepot.web.api_v1_keys import KeysV1
from entrepot.web.api_v1_upload import UploadForms
from entrepot.web.api_v2 import ApiV2
from entrepot.web.api_v2_disk import DiskV2
from entrepot.web.api_v2_keep import KeepV2
from entrepot.web.api_v2_keys import KeysV2
from entrepot.web.api_v2_log import LogV2
from entrepot.web.api_v2_proof import ProofV2
from entrepot.web.api_v2_quotas import QuotasV2
from entrepot.web.api_v2_upload import UploadsV2
from entrepot.web.call import Call
from entrepot.web.guard import Guard
from entrepot.web.install import Installs
from entrepot.web.openapi import OpenApi
from entrepot.web.pages import OperationsPages, Pages
from entrepot.web.read import Reads
from entrepot.web.router import Table
from entrepot.web.services import Services


def build_router(services: Services, reads: Reads, routes: Routes) -> Router:
    """The router of the API, the probe of the main port and the pages; gives ``reads`` its repository page."""
    table = Table()
    guard = Guard(services)
    pages = Pages(services)
    reads.page = pages.repository

    async def livez(call: Call) -> None:
        await call.answer(200, [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")], b"ok\n")

    table.add("GET", "/livez", "probe", livez)
    table.add("GET", "/", "page", pages.home)
    OperationsPages(services, guard).mount(table)
    AccountPages(services, guard, pages).mount(table)
    UploadForms(services, guard).mount(table)
    ApiV1(services, guard).mount(table)
    UploadsV2(services, guard).mount(table)
    ApiV2(services, guard, routes).mount(table)
    QuotasV2(services, guard).mount(table)
    KeepV2(services, guard).mount(table)
    DiskV2(services, guard).mount(table)
    LogV2(services, guard).mount(table)
    ProofV2(services).mount(table)
    KeysV2(services, guard).mount(table)
    KeysV1(services, guard).mount(table)
    Installs(services, guard, reads).mount(table)
    OpenApi(services, table).mount()
    return table.router()
