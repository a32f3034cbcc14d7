"""What subscribers read, in Indonesian and English. Never what somebody wrote in a report, never a person: an
unchecked report is not spread, and who wants to know more finds the problem by its id."""

from __future__ import annotations

from rembuk.areas.lookup import areas
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.forums import ForumHeld
from rembuk.contracts.notifications import Bilingual, Language
from rembuk.contracts.reports import RejectionCode, SolutionApplied

WHY_REJECTED: dict[RejectionCode, Bilingual] = {
    "not_a_problem": Bilingual("bukan masalah keamanan", "it is no problem of public security"),
    "outside_area": Bilingual("di luar wilayah ini", "it lies outside this region"),
    "not_enough_information": Bilingual("keterangannya tidak cukup", "too little is known about it"),
    "handled_elsewhere": Bilingual("ditangani pihak lain", "others take care of it"),
    "emergency": Bilingual("ditangani sebagai keadaan darurat", "it is dealt with as an emergency"),
}


def place(area: str) -> str:
    """'Gubeng, Kota Surabaya, Jawa Timur'; the code itself where this release does not know it."""
    return areas().full_name(area) if area in areas() else area


def problem_reported(area: str, category: str) -> tuple[Bilingual, Bilingual]:
    kind, where = CATEGORIES[category], place(area)
    return (
        Bilingual(f"Laporan baru: {kind.id}, {where}", f"New report: {kind.en}, {where}"),
        Bilingual(
            f"Sebuah masalah dilaporkan di {where}: {kind.id}. Saat pemberitahuan ini ditulis, laporan itu belum "
            "diperiksa. Dalam keadaan darurat hubungi 110.",
            f"A problem was reported in {where}: {kind.en}. When this alert was written it had not been verified. "
            "In an emergency call 110.",
        ),
    )


def report_rejected(area: str, category: str, code: RejectionCode) -> tuple[Bilingual, Bilingual]:
    """What is said to whoever was alerted of the report."""
    kind, where, why = CATEGORIES[category], place(area), WHY_REJECTED[code]
    return (
        Bilingual(f"Ralat: laporan {kind.id}, {where}", f"Correction: report of {kind.en}, {where}"),
        Bilingual(
            f"Laporan tentang {kind.id} di {where} telah diperiksa dan tidak ditindaklanjuti di sini: {why.id}. "
            "Pesan ini menggantikan pemberitahuan sebelumnya.",
            f"The report of {kind.en} in {where} was looked at and is not taken up here: {why.en}. "
            "This message replaces the earlier alert.",
        ),
    )


def solution_applied(area: str, solution: SolutionApplied) -> tuple[Bilingual, Bilingual]:
    kind, where = CATEGORIES[solution.category], place(area)
    since, until = solution.since.isoformat(), solution.until.isoformat()
    return (
        Bilingual(f"Masalah ditangani: {kind.id}, {where}", f"Action taken: {kind.en}, {where}"),
        Bilingual(
            f"Polisi dan masyarakat menangani masalah di {where}: {kind.id} ({since} sampai {until}). "
            "Hasilnya akan dinilai.",
            f"Police and community acted on a problem in {where}: {kind.en} ({since} to {until}). "
            "Whether it worked will be assessed.",
        ),
    )


def forum_held(held: ForumHeld) -> tuple[Bilingual, Bilingual]:
    where, agreed, promised = place(held.area), len(held.agreements), len(held.promises)
    return (
        Bilingual(f"Forum kemitraan bermusyawarah: {where}", f"Partnership forum met: {where}"),
        Bilingual(
            f"Forum kemitraan polisi dan masyarakat di {where} bermusyawarah: "
            f"{agreed} kesepakatan, {promised} janji tindak lanjut.",
            f"The police and community partnership forum of {where} met: "
            f"{agreed} agreed solutions, {promised} commitments.",
        ),
    )


def confirmation(language: Language, area: str, code: str) -> tuple[str, str]:
    """Headline and text of the message that carries the code."""
    where = place(area)
    if language == "en":
        return (
            "Your confirmation code",
            f"Somebody asked for alerts about {where} to be sent here. The code that confirms it: {code}\n\n"
            "If it was not you, do nothing: nothing more will be sent.",
        )
    return (
        "Kode konfirmasi Anda",
        f"Seseorang meminta pemberitahuan tentang {where} dikirim ke sini. Kode konfirmasinya: {code}\n\n"
        "Bila bukan Anda, abaikan saja: tidak ada lagi yang akan dikirim.",
    )


def stop_hint(language: Language, url: str) -> str:
    """The last line of every alert by e-mail."""
    return f"Stop these alerts: {url}" if language == "en" else f"Berhenti menerima pemberitahuan: {url}"
